"""Statements: where they stand, whose tables they name, what they move, what they return."""

import ast
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

Moves = Mapping[str, Collection[str]]

# A text that begins like a statement, in capitals; or one that names a table of ours in any case.
BEGINS = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|WITH\s+\w+"
    r"\s+AS|CREATE|ALTER|DROP|TRUNCATE|SET|RESET|LOCK|SAVEPOINT|LISTEN|NOTIFY|COPY|EXPLAIN|GRANT"
    r"|REVOKE|VACUUM)\s+\S"
)
MENTIONS = re.compile(
    r"\b(?:select\s.*\bfrom|insert\s+into|update|delete\s+from)\s+\w+\.\w+",
    re.IGNORECASE | re.DOTALL,
)
DRIVER = {"fetch", "fetchrow", "fetchval", "fetchmany", "executemany", "execute"}
SHAPE = re.compile(r"\s*-- -> (\w+)")

PYTHON_TYPES: dict[str, set[object]] = {
    "int2": {int},
    "int4": {int},
    "int8": {int},
    "xid8": {int},
    "float4": {float},
    "float8": {float},
    "numeric": {Decimal},
    "bool": {bool},
    "text": {str},
    "varchar": {str},
    "bpchar": {str},
    "bytea": {bytes},
    "uuid": {UUID},
    "date": {date},
    "timestamptz": {datetime},
    "interval": {timedelta},
}


INNERMOST = re.compile(r"\(([^()]*)\)")
SELECTED = re.compile(r"\bSELECT\b(.*?)(?:\bFROM\b|$)", re.DOTALL)
AS_TEXT = re.compile(r"(\w+)::text\b(?!\[)(?:\s+AS\s+(\w+))?")
UNION = re.compile(r"\bUNION\b")
SORTED = re.compile(r"\bORDER BY\b(.*?)(?:\bLIMIT\b|\bFETCH\b|\bFOR\b|$)", re.DOTALL)


class Statement(typing.NamedTuple):
    name: str
    line: int
    text: str

    @property
    def shape(self) -> str | None:
        """The Struct that a `-- -> Struct` names."""
        found = SHAPE.match(self.text)
        return found[1] if found else None


def is_sql(text: str) -> bool:
    return bool(BEGINS.match(text) or MENTIONS.search(text))


def statements(source: str) -> list[Statement]:
    """The SQL constants of a module."""
    return [
        Statement(node.targets[0].id, node.lineno, node.value.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and is_sql(node.value.value)
    ]


def speaks_sql(source: str) -> list[str]:
    """SQL anywhere in the code, and calls that hand a statement to the driver."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in prose and is_sql(node.value):
                found.append(f"{node.lineno}: {' '.join(node.value.split())[:40]}")
        elif isinstance(node, ast.Call) and _hands_a_statement_over(node):
            found.append(f"{node.lineno}: hands the driver a statement")
    return found


def scattered_statements(source: str) -> list[str]:
    """A statement is one plain constant; what runs it follows, before the next statement."""
    tree = ast.parse(source)
    known = {statement.name for statement in statements(source)}
    found = [
        f"{node.lineno}: the driver is handed something else than a constant of this module"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _hands_a_statement_over(node)
        and not (isinstance(node.args[0], ast.Name) and node.args[0].id in known)
    ]
    pending: list[str] = []
    runners: set[str] = set()
    for node in tree.body:
        name = _defines(node)
        if name in known:
            pending = [*([] if runners else pending), name]
            runners = set()
            continue
        used = _names(node) & known
        runners |= used
        found += [
            f"{node.lineno}: {other} does not stand right above what runs it"
            for other in sorted(used - set(pending))
        ]
    return found


def strays(sql: str, *, own: str, schemas: Collection[str]) -> list[str]:
    """Mentions of another domain's schema. Unqualified tables do not exist: PREPARE sees to it."""
    text = _bare(sql)
    return [
        f"{_line(text, found)}: names {found[0]}, which is not in {own}"
        for found in re.finditer(r"\b(\w+)\s*\.\s*\w+", text)
        if found[1] in schemas and found[1] != own
    ]


def sorts_by_spelling(sql: str) -> list[str]:
    """A bare name in ORDER BY is a column of the result before one of a table: where the result has
    it as text, ten comes before nine, and no index helps. A union has only the result's.
    """
    text = _bare(sql)
    found = []
    while nested := INNERMOST.search(text):
        found += _spelled(nested[1])
        text = f"{text[: nested.start()]} {text[nested.end() :]}"
    return [f"1: sorts by {name} as it is spelled" for name in (*found, *_spelled(text))]


def unknown_states(text: str, *, lives: Collection[Moves]) -> list[str]:
    """States that are set, compared or inserted, and belong to no life."""
    text = _uncommented(text)
    known = {state for life in lives for state in life}
    named = {state for listed in _state_lists(text) for state in listed} | set(_inserted(text))
    return [f"1: no such state: {state}" for state in sorted(named - known)]


def illegal_moves(statement: Statement, *, lives: Collection[Moves]) -> list[str]:
    """A change of state names the states it may come from, and each pair is in a life.

    Where the new state is a parameter, the state that was read is another.
    """
    text = _uncommented(statement.text)
    found = unknown_states(text, lives=lives)
    for target in _targets(text):
        if target.startswith("'"):
            found += _illegal_pairs(_sources(text), target.strip("'"), lives)
        elif not re.search(r"\bstate\s*=\s*\$\d+", text.partition("WHERE")[2]):
            found.append("1: moves a state without naming the one it read")
    return [f"{finding} ({statement.name})" for finding in found]


def movers(source: str) -> set[str]:
    """The functions of a store whose statement changes a state."""
    moving = {s.name for s in statements(source) if _targets(_uncommented(s.text))}
    return {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.AsyncFunctionDef) and _names(node) & moving
    }


def filled(text: str) -> set[str]:
    """Columns that a statement returns with a literal in place of NULL."""
    return set(re.findall(r"\bcoalesce\(\w+, (?:\d+|'[^']*')\)\s+AS\s+(\w+)", text))


class Column(typing.NamedTuple):
    """What a statement returns; `nullable` as far as the schema tells."""

    name: str
    kind: str
    nullable: bool


def misfits(columns: Collection[Column], *, shape: type[msgspec.Struct]) -> list[str]:
    """Compare columns with a Struct's fields, in order. Nothing converts between them."""
    names = [column.name for column in columns]
    if names != list(shape.__struct_fields__):
        return [f"1: the columns {names} are not the fields of {shape.__name__}, in order"]
    hints = typing.get_type_hints(shape)
    found = []
    for name, kind, nullable in columns:
        parts = set(_plain(hints[name]))
        if not _fits(kind, parts - {type(None)}):
            found.append(f"1: {shape.__name__}.{name} cannot be a {kind}")
        if nullable and not parts & {type(None), typing.Any}:
            found.append(f"1: {shape.__name__}.{name} may be NULL")
    return found


def _fits(kind: str, parts: set[object]) -> bool:
    if typing.Any in parts or kind in {"jsonb", "json"}:
        return True
    if kind.endswith("[]"):
        return parts == {list}
    return bool(parts) and parts <= PYTHON_TYPES.get(kind, set())


def _plain(hint: typing.Any) -> Iterator[object]:
    """The run-time types of an annotation: NewType, Annotated, Literal and unions taken apart."""
    origin = typing.get_origin(hint)
    if isinstance(hint, typing.NewType):
        yield from _plain(hint.__supertype__)
    elif origin in {typing.Union, types.UnionType}:
        for part in typing.get_args(hint):
            yield from _plain(part)
    elif origin is typing.Annotated:
        yield from _plain(typing.get_args(hint)[0])
    elif origin is typing.Literal:
        yield from (type(value) for value in typing.get_args(hint))
    else:
        yield origin or hint


def _targets(text: str) -> list[str]:
    """What `SET state = ...` sets."""
    settings = re.findall(r"\bSET\b(.*?)(?=\bFROM\b|\bWHERE\b|\bRETURNING\b|$)", text, re.DOTALL)
    return [
        target for part in settings for target in re.findall(r"\bstate\s*=\s*('\w+'|[$\w.]+)", part)
    ]


def _sources(text: str) -> list[str]:
    """The states that a statement asks for, outside of its SET."""
    rest = re.sub(r"\bSET\b.*?(?=\bFROM\b|\bWHERE\b|\bRETURNING\b|$)", "", text, flags=re.DOTALL)
    rest = re.sub(r"\bstate\s+NOT\s+IN\s*\([^)]*\)|\bstate\s*(?:<>|!=)\s*'\w+'", "", rest)
    return [state for listed in _state_lists(rest) for state in listed]


def _state_lists(text: str) -> Iterator[list[str]]:
    for found in re.finditer(r"\bstate\s*(?:=|<>|!=)\s*'(\w+)'", text):
        yield [found[1]]
    for found in re.finditer(r"\bstate\s+(?:NOT\s+)?IN\s*\(([^)]*)\)", text):
        yield re.findall(r"'(\w+)'", found[1])


def _inserted(text: str) -> Iterator[str]:
    """The state that `INSERT INTO ... (...) VALUES (...)` begins a life with, where it says it."""
    row = re.search(r"\bINSERT\s+INTO[^(]*\(([^)]*)\)\s*VALUES\s*\(([^()]*)\)", text)
    if row:
        columns, values = ([part.strip() for part in listed.split(",")] for listed in row.groups())
        pairs = zip(columns, values, strict=True)
        yield from (v.strip("'") for c, v in pairs if c == "state" and v.startswith("'"))


def _illegal_pairs(sources: list[str], target: str, lives: Collection[Moves]) -> list[str]:
    if not sources:
        return [f"1: moves to {target} without naming the states it may come from"]
    return [
        f"1: no life goes from {source} to {target}"
        for source in sources
        if not any(target in life.get(source, ()) for life in lives)
    ]


def _hands_a_statement_over(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr in DRIVER and bool(node.args)


def _defines(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _uncommented(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql)


def _bare(sql: str) -> str:
    """Without comments and without what stands in quotes; every line stays where it is."""
    return re.sub(r"--[^\n]*|'[^']*'", lambda m: "\n" * m[0].count("\n"), sql)


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def _spelled(query: str) -> list[str]:
    """Of a query without what is nested in it: names that are sorted by, and selected as text."""
    if UNION.search(query):
        return []
    texts = {
        alias or column
        for selected in SELECTED.findall(query)
        for column, alias in AS_TEXT.findall(selected)
    }
    sorted_by = [item.split() for order in SORTED.findall(query) for item in order.split(",")]
    return [words[0] for words in sorted_by if words and words[0] in texts]
