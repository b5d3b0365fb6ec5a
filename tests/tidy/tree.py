"""What there is to check: the repository's files, modules, domains, lives and refusals."""

import importlib
import pkgutil
import subprocess
from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import ModuleType

import api
import core
import hotpath
from core.kit.refusal import Refusal

ROOT = Path(__file__).parents[2]
CODE = ("core", "hotpath", "api")
NOT_DOMAINS = {"embedded", "flows", "jobs", "kit", "migrations"}
DOMAINS = sorted(
    face.parent.name
    for face in (ROOT / "core").glob("*/__init__.py")
    if face.parent.name not in NOT_DOMAINS
)

# Not every domain keeps something in Postgres.
KEEPERS = [domain for domain in DOMAINS if (ROOT / "core" / domain / "store.py").exists()]


@cache
def repository() -> tuple[Path, ...]:
    """Every file that is tracked or about to be; without git, every file that is not ignored."""
    if not (ROOT / ".git").exists():
        found = (path for path in sorted(ROOT.rglob("*")) if path.is_file())
        return tuple(path for path in found if not _is_ignored(where(path)))
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = sorted({name for name in listed.stdout.split("\0") if name})
    return tuple(path for name in names if (path := ROOT / name).is_file())


def _is_ignored(name: str) -> bool:
    patterns = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    parts = (name, *Path(name).parts)
    return any(fnmatch(part, pattern.rstrip("/")) for pattern in patterns for part in parts)


def files(*folders: str, suffix: str) -> list[Path]:
    """The files below some folders, or of the whole repository where none is named."""
    starts = tuple(f"{folder}/" for folder in folders)
    return [
        path
        for path in repository()
        if path.suffix == suffix and (not starts or where(path).startswith(starts))
    ]


def where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_store(path: Path) -> bool:
    """A module that may speak SQL: a domain's store, or one of kit's."""
    core = ROOT / "core"
    return path.parent == core / "kit" or (path.name == "store.py" and core in path.parents)


def stores() -> list[Path]:
    return [path for path in files("core", suffix=".py") if is_store(path)]


def domain_of(path: Path) -> str:
    """The name below `core`, which is also the schema's: `kit`, `orders`, ..."""
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "core" and len(parts) > len(("core", "file.py")) else ""


def module_of(path: Path) -> ModuleType:
    return importlib.import_module(where(path).removesuffix(".py").replace("/", "."))


def inside_domains() -> set[str]:
    """Every module behind a face: `core.orders.store`, ..."""
    return {
        f"core.{domain}.{path.stem}"
        for domain in DOMAINS
        for path in (ROOT / "core" / domain).glob("*.py")
        if path.stem != "__init__"
    }


Life = Mapping[StrEnum, frozenset[StrEnum]]


def lives(domain: str) -> list[Life]:
    """The tables of moves in a domain's `states`."""
    if not (ROOT / "core" / domain / "states.py").exists():
        return []
    module = importlib.import_module(f"core.{domain}.states")
    return [table for name, table in vars(module).items() if name.endswith("MOVES")]


@cache
def refusals() -> tuple[type[Refusal], ...]:
    """Every refusal in the code, with all modules imported."""
    for package in (core, hotpath, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found: list[type[Refusal]] = []
    waiting = [Refusal]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        found += [s for s in subclasses if s.__module__.partition(".")[0] in CODE]
    return tuple(sorted(set(found), key=lambda refusal: refusal.__name__))
