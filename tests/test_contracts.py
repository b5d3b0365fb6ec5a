"""Every import contract of pyproject.toml, broken once on purpose in a copy of the tree."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.tidy.tree import CODE, DOMAINS, ROOT

LADDER = "Calls go down: api, core, hotpath"
CORE = "Inside the core: jobs, flows, domains, kit. Domains are strangers."
FACE = "Nobody reaches behind a domain's face"
HOTPATH = "The microseconds that matter import nothing else of ours"
SETTINGS = "Only the edges read settings; everyone else is told"
EMBEDDED = "Only the command line starts servers"
HTTP = "The core has never heard of the web framework"
SANDBOX = "The outside services we play know nothing of the shop"
CYCLES = "No cycles"

# Contract, module, the line that it gains.
BREACHES = [
    (LADDER, "core/orders/service.py", "import api.problems"),
    (LADDER, "hotpath/ids.py", "from core.kit import ids"),
    (CORE, "core/orders/service.py", "from core import inventory"),
    (CORE, "core/kit/outbox.py", "from core import orders"),
    (CORE, "core/sales/rules.py", "from core.flows import place_order"),
    (CORE, "core/flows/place_order.py", "from core.jobs import expirer"),
    (CORE, "core/loyalty/__init__.py", '"""A domain that no layer names."""'),
    (FACE, "core/flows/place_order.py", "from core.orders import store"),
    (FACE, "core/jobs/expirer.py", "from core.payments.signature import sign"),
    (FACE, "api/app.py", "import core.sales.model"),
    (HOTPATH, "hotpath/gate.py", "def late():\n    from core import sales"),
    (SETTINGS, "core/flows/place_order.py", "from core import settings"),
    (SETTINGS, "core/jobs/expirer.py", "from core.settings import load"),
    (EMBEDDED, "core/jobs/expirer.py", "from core import embedded"),
    (EMBEDDED, "core/flows/place_order.py", "from core.embedded import Redis"),
    (EMBEDDED, "api/app.py", "from core import embedded"),
    (HTTP, "core/orders/model.py", "from litestar import get"),
    (HTTP, "hotpath/claims.py", "import litestar.exceptions"),
    (SANDBOX, "api/sandbox/app.py", "from core.payments import sign"),
    (SANDBOX, "api/alipay_sandbox/app.py", "from core.payments import Keys"),
    (SANDBOX, "api/played/courier.py", "from core.kit import db"),
    (CYCLES, "core/kit/refusal.py", "from core.kit import db, states"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, without anything else."""
    folder = tmp_path_factory.mktemp("tree")
    for package in CODE:
        for source in (ROOT / package).rglob("*.py"):
            place = folder / source.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


@pytest.fixture
def planted(copy: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy in which one module has gained a line."""
    _, module, line = request.param
    place = copy / module
    before = place.read_text(encoding="utf-8") if place.exists() else None
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    yield copy
    if before is not None:
        place.write_text(before, encoding="utf-8")
    elif place.name == "__init__.py":
        shutil.rmtree(place.parent)
    else:
        place.unlink()


def broken(folder: Path) -> set[str]:
    """The names of the contracts that do not hold in a folder."""
    run = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", run, "--no-cache", "--no-logo"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    found = {line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if "BROKEN" in line}
    assert bool(found) == bool(done.returncode)
    return found


def contracts() -> list[dict[str, object]]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return pyproject["tool"]["importlinter"]["contracts"]


def test_the_tree_keeps_every_contract(copy):
    assert broken(copy) == set()


@pytest.mark.parametrize(
    ("planted", "contract"),
    [(breach, breach[0]) for breach in BREACHES],
    indirect=["planted"],
    ids=[f"{module}: {line.splitlines()[-1].strip()}" for _, module, line in BREACHES],
)
def test_a_planted_breach_breaks_its_contract(planted, contract):
    assert contract in broken(planted)


def test_every_contract_is_broken_once():
    assert {contract["name"] for contract in contracts()} == {name for name, _, _ in BREACHES}


def test_every_domain_is_behind_its_face_and_a_stranger_to_the_others():
    by_name = {contract["name"]: contract for contract in contracts()}
    domains = {*DOMAINS, "embedded"}
    assert set(by_name[FACE]["forbidden_modules"]) == {f"core.{name}.*" for name in domains}
    (strangers,) = (layer for layer in by_name[CORE]["layers"] if "|" in layer)
    assert set(strangers.split(" | ")) == domains
