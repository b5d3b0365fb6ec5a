"""Lua: a script's header against its body."""

import re
from collections.abc import Collection, Sequence

FUNCTION_LINES_MAX = 50


def dishonest_header(script: str) -> list[str]:
    """A header declares exactly the KEYS[n] and ARGV[n] that the body uses, and what it RETURNS.

    `ARGV[3..]` declares all from the third on; a body uses it by a computed index.
    """
    header, gap, body = _parts(script)
    found = []
    if gap != 1:
        found.append(f"{header.count(chr(10)) + 2}: not one blank line between header and body")
    if not re.search(r"^-- RETURNS\s+\S", header, re.MULTILINE):
        found.append("1: the header has no RETURNS line")
    for name in ("KEYS", "ARGV"):
        found += _mismatch(name, header, _bare(body))
    return found


def door_mismatch(
    script: str, *, bucket: int, keys: Collection[str], passed: Sequence[str] | None = None
) -> list[str]:
    """A header names keys of a bucket (`...` is any), just as the Python door passes them."""
    names = re.findall(r"^-- KEYS\[\d+\]\s+(\S+)", _parts(script)[0], re.MULTILINE)
    declared = [name.replace("{bucket}", f"{{{bucket}}}") for name in names]
    if passed is not None and declared != list(passed):
        return [f"1: declared {declared}, passed {list(passed)}"]
    return [f"1: no bucket has {k}" for k in declared if k not in keys and not k.endswith(":...")]


def long_functions(script: str, *, lines_max: int = FUNCTION_LINES_MAX) -> list[str]:
    """A function ends at the `end` that stands as far in as its beginning."""
    found = []
    pattern = r"^([ ]*)(?:local\s+)?(?:function\b|\w+\s*=\s*function\b).*?\n(.*?)^\1end\b"
    for match in re.finditer(pattern, script, re.MULTILINE | re.DOTALL):
        lines = match[0].count("\n") + 1
        if lines >= lines_max:
            found.append(f"{script.count(chr(10), 0, match.start()) + 1}: has {lines} lines")
    return found


def _parts(script: str) -> tuple[str, int, str]:
    """The header's comment lines, how many blank lines follow, the rest."""
    lines = script.splitlines()
    end = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    start = next((n for n, line in enumerate(lines[end:], end) if line.strip()), len(lines))
    return "\n".join(lines[:end]), start - end, "\n".join(lines[start:])


def _mismatch(name: str, header: str, body: str) -> list[str]:
    declared = re.findall(rf"^-- {name}\[(\d+)(\.\.)?\]", header, re.MULTILINE)
    numbers = [int(number) for number, _ in declared]
    single = {int(number) for number, rest in declared if not rest}
    rest = [int(number) for number, rest in declared if rest]
    used = {int(number) for number in re.findall(rf"\b{name}\[(\d+)\]", body)}
    found = []
    if numbers != list(range(1, len(numbers) + 1)):
        found.append(f"1: {name} is not declared in order, each number once: {numbers}")
    found += [f"1: uses {name}[{n}] undeclared" for n in sorted(used - single)]
    found += [f"1: declares {name}[{n}] and never uses it" for n in sorted(single - used)]
    return found + _range_mismatch(name, rest, body)


def _range_mismatch(name: str, rest: Sequence[int], body: str) -> list[str]:
    computed = re.search(rf"\b{name}\[\s*(?!\d+\s*\])|#{name}\b|\b{name}\s*[,)]", body)
    if not rest:
        return [f"1: computes an index of {name}, but declares no range"] if computed else []
    if not computed:
        return [f"1: declares {name}[{rest[0]}..] and never computes an index"]
    starts = {int(n) for n in re.findall(rf"\bfor\s+\w+\s*=\s*(\d+)\s*,\s*#{name}\b", body)}
    return [f"1: declares {name}[{rest[0]}..], loops from {n}" for n in sorted(starts - set(rest))]


def _bare(body: str) -> str:
    """Without comments and strings."""
    return re.sub(r"--\[\[.*?\]\]|--[^\n]*|'[^'\n]*'|\"[^\"\n]*\"", "", body, flags=re.DOTALL)
