"""Migrations: numbered, forward only, constraints that read as sentences, one schema each."""

import re
from collections.abc import Sequence

WORDS_MIN = 3
NAME_BYTES_MAX = 63

BACKWARD = re.compile(
    r"\b(?:DROP\s+\w+(?:\s+IF\s+EXISTS)?\s+[\w.]+|TRUNCATE\s+[\w.]+|RENAME\s+(?:COLUMN\s+\w+\s+)?TO"
    r"\s+\w+|ALTER\s+(?:COLUMN\s+)?\w+\s+(?:SET\s+DATA\s+)?TYPE\s+\w+|SET\s+NOT\s+NULL)",
    re.IGNORECASE,
)
NAMES_SCHEMA = re.compile(
    r"\b(?:TABLE|SCHEMA|INDEX\s+\w+\s+ON|REFERENCES|INTO|UPDATE|FROM|JOIN)\s+"
    r"(?:IF\s+NOT\s+EXISTS\s+)?(?:ONLY\s+)?(\w+)(?=\s*[.;])"
)
ESCAPE = re.compile(r"--\s*contract:\s*\S.{9,}")


def numbering(names: Sequence[str]) -> list[str]:
    """Names as `0001_kit.sql`, `0002_...`: every number once, no gap."""
    found = []
    for expected, name in enumerate(sorted(names), 1):
        if not re.fullmatch(rf"{expected:04d}_[a-z0-9_]+\.sql", name):
            found.append(f"{expected}: {name} is not number {expected:04d}")
    return found


def steps_back(script: str) -> list[str]:
    """What old code could not bear. The line above may say why it can: `-- contract: <why>`."""
    lines = script.splitlines()
    text = _bare(script)
    found = []
    for match in BACKWARD.finditer(text):
        line = _line(text, match)
        above = lines[line - 2] if line > 1 else ""
        if not ESCAPE.search(above):
            found.append(f"{line}: {' '.join(match[0].split())}")
    return found


def retired_states(scripts: Sequence[str]) -> set[str]:
    """States of old: a script that moves every row out of some says `-- retires: <states>`."""
    named = (found[1] for s in scripts for found in re.finditer(r"--\s*retires:\s*(.+)", s))
    return {state.strip() for states in named for state in states.split(",")}


def speechless_constraints(script: str) -> list[str]:
    """A CHECK, UNIQUE or EXCLUDE has a name; a name is a sentence that Postgres does not cut."""
    text = _bare(script)
    found = [
        f"{_line(text, match)}: a {match[1]} without a name"
        for match in re.finditer(r"\b(CHECK|EXCLUDE|UNIQUE(?!\s+INDEX))\b", text)
        if not re.search(r"\bCONSTRAINT\s+\w+\s+$", text[: match.start()])
    ]
    named = r"\b(?:CONSTRAINT|UNIQUE\s+INDEX)\s+(\w+)\s+(?!FOREIGN|PRIMARY)"
    for match in re.finditer(named, text):
        if len(match[1].split("_")) < WORDS_MIN:
            found.append(f"{_line(text, match)}: {match[1]} is no sentence")
        if len(match[1]) > NAME_BYTES_MAX:
            found.append(f"{_line(text, match)}: {match[1]} is longer than Postgres keeps")
    return found


def mixed_schemas(script: str) -> list[str]:
    """One migration is one domain's business, and a foreign key never leaves its schema."""
    found = schemas(script)
    return [f"1: touches the schemas {', '.join(found)}"] if len(found) > 1 else []


def schemas(script: str) -> list[str]:
    """The schemas that a script names."""
    return sorted({match[1] for match in NAMES_SCHEMA.finditer(_bare(script))})


def _bare(script: str) -> str:
    """Without comments and without what stands in quotes; every line stays where it is."""
    return re.sub(r"--[^\n]*|'[^']*'", lambda m: "''" if m[0][0] == "'" else "", script)


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1
