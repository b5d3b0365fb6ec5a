"""What no file may hold, whatever language it is written in; and documents."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import rich_click as click

MARKS = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X]|HAC[K])\b")
MACHINE = re.compile(r"(?<![\w.*-])/(?:tmp|work|root|home)(?:/|(?=[\s\"'`),;:]|$))")
REGISTRY = re.compile(
    r"--(?:extra-)?index(?:-url)?\b|(?<!emit-)\bindex[-_]url\b|//[^\s\"'`]+/simple\b|files\.pythonhosted\.org"
    r"|\bUV_(?:DEFAULT_)?INDEX\b|--trusted[-]host\b|(?<!no-emit)-find[-]links\b",
    re.IGNORECASE,
)
DECISION_PARTS = ["Context", "Decision", "Consequences", "Alternatives"]
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers", "misc"}


def unfinished_marks(text: str) -> list[str]:
    return _lines(MARKS, text)


def machine_paths(text: str) -> list[str]:
    return _lines(MACHINE, text)


def registry_indexes(text: str) -> list[str]:
    return _lines(REGISTRY, text)


def unexplained_exclusions(pyproject: str) -> list[str]:
    """Rules of ruff that are switched off without a reason beside them."""
    sections = re.split(r"^(?=\[)", pyproject, flags=re.MULTILINE)
    return [
        f"1: {line.strip()}"
        for section in sections
        if section.startswith("[tool.ruff.lint")
        for line in section.splitlines()
        if re.search(r'"[A-Z]+\d*"', line) and "select" not in line and "#" not in line
    ]


def unhashed_requirements(lock: str) -> list[str]:
    """Packages of a lock without a hash, or without an exact version."""
    entries = re.findall(r"^([^\s#][^\n]*(?:\n[ ]+[^\n]*)*)", lock, re.MULTILINE)
    return [
        f"1: {entry.split()[0]}"
        for entry in entries
        if not re.match(r"[\w.-]+==\S+", entry) or "--hash=sha256:" not in entry
    ]


def vague_names(path: str) -> list[str]:
    """Folders and modules whose name says nothing."""
    return [f"1: {part}" for part in Path(path).parts if part.partition(".")[0] in VAGUE]


def unrecorded_parts(record: str) -> list[str]:
    """A decision record has its four parts, in order."""
    parts = re.findall(r"^##\s+(.+?)\s*$", record, re.MULTILINE)
    return [] if parts == DECISION_PARTS else [f"1: its parts are {parts}"]


def dead_links(document: str, *, folder: Path) -> list[str]:
    """Relative links of a Markdown document that lead nowhere."""
    text = re.sub(r"```.*?```", lambda m: "\n" * m[0].count("\n"), document, flags=re.DOTALL)
    return [
        f"{text.count(chr(10), 0, found.start()) + 1}: {found[1]}"
        for found in re.finditer(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:|#", found[1])
        if not (folder / found[1].partition("#")[0]).exists()
    ]


def missing_texts(titles: Mapping[str, str], chinese: Mapping[str, str]) -> list[str]:
    """Problems (slug -> English title) that lack a text, and texts without a problem."""
    return [
        *(f"1: {slug} has no English title" for slug, title in titles.items() if not title),
        *(f"1: {slug} has no Chinese text" for slug in titles if not chinese.get(slug)),
        *(f"1: no problem is called {slug}" for slug in chinese if slug not in titles),
    ]


def double_meanings(refusals: Iterable[tuple[str, object, str]]) -> list[str]:
    """Slugs that stand for two kinds or two titles."""
    meanings: dict[str, set[tuple[object, str]]] = {}
    for slug, kind, title in refusals:
        meanings.setdefault(slug, set()).add((kind, title))
    return [f"1: {slug} means {len(m)} things" for slug, m in meanings.items() if len(m) > 1]


def silent_commands(command: click.Command, *, name: str) -> list[str]:
    """Commands without help, and options without it, all the way down."""
    found = [] if command.help else [f"1: {name} has no help"]
    found += [
        f"1: {name} {option.opts[0]} has no help"
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    if isinstance(command, click.Group):
        for verb, below in command.commands.items():
            found += silent_commands(below, name=f"{name} {verb}")
    return found


def _lines(pattern: re.Pattern[str], text: str) -> list[str]:
    return [
        f"{number}: {found[0].strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if (found := pattern.search(line))
    ]
