"""Many goods through the command line as processes of their own, killed in the middle.

TEST_IMPORT_ROWS says how many rows; 100000 with -s prints time, rate and memory.
"""

import asyncio
import csv
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from core import sheets
from core.kit import db
from tests.api.conftest import ROOT, environment
from tests.core import goods

ROWS = int(os.environ.get("TEST_IMPORT_ROWS", "4000"))
RUN_S_MAX = 600
LOOK_S = 0.02
MB_MAX = 250


class Ran:
    """A verb as a process of its own: how long it took, and the most memory it held."""

    def __init__(self, settings, *words):
        self.began = time.monotonic()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - it lasts as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "api.cli", "catalogue", *words],
            cwd=ROOT,
            env=environment(settings),
            stderr=self.log,
        )
        self.took_s = 0.0
        self.memory_mb = 0.0

    async def ended(self):
        async with asyncio.timeout(RUN_S_MAX):
            while self.process.poll() is None:
                self.look()
                await asyncio.sleep(LOOK_S)
        self.took_s = time.monotonic() - self.began
        return self

    def look(self) -> None:
        """What the kernel counts since the program began; rusage also counts who started it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            self.memory_mb = int(found[1]) / 1024

    @property
    def said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture
def run(settings):
    started = []

    def run(*words):
        started.append(Ran(settings, *map(str, words)))
        return started[-1]

    yield run
    for one in started:
        one.close()


async def progress(pool) -> sheets.Import | None:
    async with db.reading(pool) as conn:
        found = await sheets.every(conn, before=None, page_max=1)
    return found[0] if found else None


async def reached(pool, what) -> sheets.Import:
    async with asyncio.timeout(RUN_S_MAX):
        while True:
            found = await progress(pool)
            if found is not None and what(found):
                return found
            await asyncio.sleep(LOOK_S)


def sheet_of(rows, form) -> bytes:
    if form == "csv":
        return goods.as_csv(rows)
    file = io.BytesIO()
    with sheets.workbook.Writer(file, goods.HEADER) as writer:
        writer.add(rows)
    return file.getvalue()


@pytest.mark.parametrize("form", ["csv", "xlsx"])
async def test_an_import_that_is_killed_twice_takes_every_good_row_once(pool, run, tmp_path, form):
    async with db.transaction(pool) as conn:
        await goods.grow_categories(conn)
    # A workbook has no row that is too short.
    wanted = [one for one in goods.rows(ROWS) if form == "csv" or one[1] != goods.SHORT]
    good = [cells for cells, bad in wanted if bad is None]
    path, report, out = (tmp_path / name for name in (f"in.{form}", "report.csv", "out.csv"))
    path.write_bytes(sheet_of([cells for cells, _ in wanted], form))
    words = ("import", path, "--report", report)
    runs = []
    for what in (lambda one: one.read >= ROWS / 10, lambda one: one.made >= ROWS / 10):
        runs.append(run(*words))
        await reached(pool, what)
        runs[-1].look()
        runs[-1].process.kill()
        await runs[-1].ended()
        assert runs[-1].process.returncode == -9
        halfway = await progress(pool)
        assert halfway.ended_at is None
        async with db.reading(pool) as conn:
            assert await conn.fetchval("SELECT count(*) FROM catalogue.skus") == halfway.made
    runs.append(await run(*words).ended())
    assert runs[-1].process.returncode == 1, runs[-1].said
    done = await progress(pool)
    assert (done.made, done.read, done.state) == (len(good), len(wanted), "done")
    told = list(csv.reader(io.StringIO(report.read_text(encoding="utf-8-sig"))))[1:]
    assert [(row[3], row[4]) for row in told] == [why for _, why in wanted if why]
    exported = await run("export", out).ended()
    assert out.read_bytes() == goods.as_csv(good)
    say(form, runs, exported)
    assert max(one.memory_mb for one in (*runs, exported)) < MB_MAX


async def test_a_template_is_filled_in_tried_and_taken(pool, run, tmp_path):
    async with db.transaction(pool) as conn:
        await goods.grow_categories(conn)
    path, out = tmp_path / "goods.xlsx", tmp_path / "out.csv"
    assert (await run("template", path).ended()).process.returncode == 0
    with path.open("rb") as file:
        (header,) = [row.cells for row in sheets.workbook.read_rows(file)]
    row = goods.good_row(0)
    assert set(header) <= set(row)
    with path.open("wb") as file, sheets.workbook.Writer(file, header) as writer:
        writer.add([[row[name] for name in header]])
    tried = await run("import", "--dry-run", path).ended()
    assert (tried.process.returncode, "1 made" in tried.said) == (0, True), tried.said
    assert (await run("import", path).ended()).process.returncode == 0
    assert (await run("export", out).ended()).process.returncode == 0
    assert row["sku_code"].encode() in out.read_bytes()
    out.write_bytes(b"spu_code,sku_code,titel.zh\nA,B,C\n")
    refused = await run("import", out).ended()
    assert refused.process.returncode == 1
    assert refused.said.splitlines()[-1].endswith("the nearest is 'title.zh'.")


def say(form, runs, exported) -> None:
    took_s = sum(one.took_s for one in runs)
    print(
        f"\n{form}: import of {ROWS:,} rows, killed twice: {took_s:.1f} s, "
        f"{ROWS / took_s:,.0f} rows/s, peak {max(one.memory_mb for one in runs):.0f} MB; "
        f"export {exported.took_s:.1f} s, peak {exported.memory_mb:.0f} MB"
    )
