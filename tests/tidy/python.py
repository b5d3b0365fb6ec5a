"""What an import or a name reaches, how long a function is, what a comment holds: Python by AST."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Collection, Iterator

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef

FUNCTION_LINES_MAX = 50
TEST_LINES_MAX = 80
COMMENT_LINES_MAX = 3

CLOCK = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    *(
        f"time.{name}{unit}"
        for name in ("time", "monotonic", "perf_counter")
        for unit in ("", "_ns")
    ),
    "time.localtime",
    "time.gmtime",
    "time.strftime",
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}
RANDOMNESS = {
    "random",
    "secrets",
    "os.urandom",
    "os.getrandom",
    *(f"{module}.uuid{n}" for module in ("uuid", "uuid_utils") for n in (1, 4, 6, 7)),
}
SCALARS = {"int", "str", "bool", "float", "bytes", "datetime", "date", "timedelta", "Decimal"}


def opens_transactions(source: str) -> list[str]:
    """Transactions by asyncpg's own method, or by `kit.db`."""
    tree = ast.parse(source)
    imports = _imports(tree)
    ways = {f"core.kit.db.{name}" for name in ("transaction", "snapshot", "create_pool")}
    return [
        f"{node.lineno}: opens a transaction"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "transaction")
        or _reached(node, imports) in ways
    ]


def reads_clock(source: str) -> list[str]:
    return _reaches(source, CLOCK)


def reads_environment(source: str) -> list[str]:
    return _reaches(source, ENVIRONMENT)


def draws_randomness(source: str) -> list[str]:
    return _reaches(source, RANDOMNESS)


def long_functions(source: str, *, lines_max: int = FUNCTION_LINES_MAX) -> list[str]:
    return [
        f"{node.lineno}: {node.name} has {lines} lines"
        for node in _functions(ast.parse(source))
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) >= lines_max
    ]


def long_kernels(source: str, *, lines_max: int = FUNCTION_LINES_MAX) -> list[str]:
    """The same for Cython, which `ast` cannot read: a function lasts while it is indented."""
    found = []
    lines = source.splitlines()
    for first, line in enumerate(lines):
        begins = re.match(r"( *)(?:async def|def|cp?def)\b[^=]*\(", line)
        if begins is None:
            continue
        last = first
        for number, below in enumerate(lines[first + 1 :], first + 1):
            if below.strip() and not re.match(rf"{begins[1]}(?: |\))", below):
                break
            last = number if below.strip() else last
        if last - first + 1 >= lines_max:
            found.append(f"{first + 1}: has {last - first + 1} lines")
    return found


def assigns_state(source: str) -> list[str]:
    """`order.state = ...`, and `replace(order, state=...)`, which is the same in disguise."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            hit = any(isinstance(t, ast.Attribute) and t.attr == "state" for t in targets)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            words = {word.arg for word in node.keywords}
            hit = name in {"replace", "__replace__", "force_setattr"} and "state" in words
        else:
            continue
        if hit:
            found.append(f"{node.lineno}: assigns a state; only `move` does that")
    return found


def goes_behind_a_face(source: str, *, inside: Collection[str]) -> list[str]:
    """Imports of a module `inside` another domain, where its face is the way in."""
    return [
        f"{line}: imports {module} behind the face of its domain"
        for line, module in _imported_modules(ast.parse(source))
        if any(module == name or module.startswith(f"{name}.") for name in inside)
    ]


def loose_verbs(source: str) -> list[str]:
    """Verbs of a service: `conn` comes first, and a fact (a number, a text, an id) has its name."""
    found = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        positional = node.args.posonlyargs + node.args.args
        if not positional or positional[0].arg != "conn":
            found.append(f"{node.lineno}: {node.name} is not handed its conn first")
        found += [
            f"{node.lineno}: {node.name} takes the fact {argument.arg} without its name"
            for argument in positional
            if argument.annotation is not None and _is_scalar(argument.annotation)
        ]
    return found


def vague_refusals(source: str, *, known: Collection[str] = ("Refusal",)) -> list[str]:
    """A refusal's docstring is the title of its problem: one line, in sentences. It has a kind.

    `known` are the names of all refusals: a subclass may inherit its kind.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        if not bases & {*known, "Refusal"}:
            continue
        if not re.fullmatch(r"[A-Z][^\n]*[.]", ast.get_docstring(node) or ""):
            found.append(f"{node.lineno}: {node.name} has no title in one line of sentences")
        if "Refusal" in bases and not any(_assigns_kind(part) for part in node.body):
            found.append(f"{node.lineno}: {node.name} has no kind")
    return found


def thawed_structs(source: str) -> list[str]:
    """Structs that somebody could change."""
    return [
        f"{node.lineno}: {node.name} is not frozen"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        if any(ast.unparse(base).rpartition(".")[2] == "Struct" for base in node.bases)
        if not any(w.arg == "frozen" and ast.unparse(w.value) == "True" for w in node.keywords)
    ]


def unchecked_moves(source: str, *, movers: Collection[str]) -> list[str]:
    """Functions that call one of the store's movers and never ask `check_move`."""
    found = []
    for node in _functions(ast.parse(source)):
        called = {ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
        moved = sorted(called & {f"store.{mover}" for mover in movers})
        if moved and "check_move" not in called:
            found.append(f"{node.lineno}: {node.name} calls {moved[0]} without check_move")
    return found


def long_comments(source: str) -> list[str]:
    """More than three comment lines in a row, and banners."""
    found, run, last = [], 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.line.strip() != token.string:
            continue
        line = token.start[0]
        run = run + 1 if line == last + 1 else 1
        last = line
        if run == COMMENT_LINES_MAX + 1:
            found.append(f"{line}: a comment of more than {COMMENT_LINES_MAX} lines")
        if re.fullmatch(r"#\s*([-=*#~_])\1{2,}.*", token.string):
            found.append(f"{line}: a banner")
    return found


def unexplained_skips(source: str) -> list[str]:
    """`pytest.skip()`, `mark.skip`, `mark.skipif` and `mark.xfail` without a reason."""
    found = []
    tree = ast.parse(source)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        name = ast.unparse(node)
        if not re.fullmatch(r"(pytest\.)?(mark\.(skip|skipif|xfail)|skip|xfail)", name):
            continue
        if not name.startswith("pytest.") and "mark." not in name:
            continue
        call = calls.get(id(node))
        if call is None or not _gives_a_reason(call, positional="if" not in name):
            found.append(f"{node.lineno}: {name} without a reason")
    return found


def mocks(source: str) -> list[str]:
    return [
        f"{line}: imports {module}"
        for line, module in _imported_modules(ast.parse(source))
        if f"{module}.".startswith(("unittest.mock.", "mock.", "pytest_mock."))
    ]


def foreign_imports(source: str) -> list[str]:
    """Imports of anything but the standard library."""
    return [
        f"{line}: imports {module}, which is not in the standard library"
        for line, module in _imported_modules(ast.parse(source))
        if module.partition(".")[0] not in sys.stdlib_module_names
    ]


def _gives_a_reason(call: ast.Call, *, positional: bool) -> bool:
    reasons = [word.value for word in call.keywords if word.arg == "reason"]
    reasons += call.args[:1] if positional else []
    return any(not (isinstance(r, ast.Constant) and not r.value) for r in reasons)


def _reaches(source: str, names: Collection[str]) -> list[str]:
    """Uses of one of these names, or of something below it."""
    tree = ast.parse(source)
    imports = _imports(tree)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return [
        f"{node.lineno}: reaches {reached}"
        for node in ast.walk(tree)
        if id(node) not in inner and (reached := _reached(node, imports))
        if any(f"{reached}.".startswith(f"{name}.") for name in names)
    ]


def _reached(node: ast.AST, imports: dict[str, str]) -> str | None:
    """The dotted name that an expression ends at, seen through the module's imports."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return imports.get(node.id)
    if isinstance(node, ast.Attribute) and (before := _reached(node.value, imports)):
        return f"{before}.{node.attr}"
    return None


def _imports(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it stands for. `import a.b` binds `a`."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                top = name.name.partition(".")[0]
                bound[name.asname or top] = name.name if name.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                bound[name.asname or name.name] = f"{node.module}.{name.name}"
    return bound


def _imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every absolute name that an import mentions: `from core import orders` is `core.orders`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def _functions(tree: ast.AST) -> Iterator[FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, FunctionDef))


def _is_scalar(annotation: ast.expr) -> bool:
    names = {ast.unparse(part) for part in _alternatives(annotation)} - {"None"}
    return bool(names) and all(name in SCALARS or name.endswith("Id") for name in names)


def _alternatives(annotation: ast.expr) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _alternatives(annotation.left)
        yield from _alternatives(annotation.right)
    else:
        yield annotation


def _assigns_kind(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "kind" for target in node.targets
    )
