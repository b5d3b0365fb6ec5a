"""docs/performance*.md tell what was measured, to the figure, and the plots show it."""

import re

import pytest

from benchmarks import flame, plot, svg

STALE = "benchmarks/results has other figures: run `python -m benchmarks.plot`"


@pytest.mark.parametrize("language", plot.PAGES)
def test_the_performance_page_tells_what_was_measured(language):
    page = plot.PAGES[language].read_text(encoding="utf-8")
    assert plot.filled(page, language) == page, STALE


def test_every_plot_shows_what_was_measured():
    kept = {path: path.read_text(encoding="utf-8") for path in (plot.DOCS / "plots").glob("*.svg")}
    assert kept == plot.drawings(), STALE


@pytest.mark.parametrize("language", plot.PAGES)
def test_the_performance_page_has_a_place_for_every_result(language):
    page = plot.PAGES[language].read_text(encoding="utf-8")
    assert {found["name"] for found in plot.BLOCK.finditer(page)} == set(plot.BLOCKS)


def test_an_overload_is_told_by_its_verdicts_and_its_stretches():
    found = {
        "verdicts": {"no 202 is lost": {"held": False, "figure": "3 lost"}},
        "stretches": [{"phase": "storm", "goodput_per_s": 1234.567, "probes": {"live": 1.0}}],
    }
    assert plot.overload(found, plot.in_words("en")).splitlines() == [
        "| what | held | measured |",
        "| --- | ---: | ---: |",
        "| no 202 is lost | no | 3 lost |",
        "",
        "| phase | goodput per s |",
        "| --- | ---: |",
        "| storm | 1,235 |",
    ]


def test_a_bar_is_as_long_as_its_figure():
    told = [svg.Bar("a", [("api", 30.0), ("redis", 10.0)]), svg.Bar("b", [("api", 20.0)])]
    drawn = svg.bars(told, unit="µs", label="two")
    widths = {
        says: float(width)
        for width, says in re.findall(r'width="([\d.]+)" height="20"><title>([^<]*)<', drawn)
    }
    whole = svg.WIDTH - svg.NAMES - svg.FIGURES
    assert widths == pytest.approx(
        {"a: api 30 µs": 0.75 * whole, "a: redis 10 µs": 0.25 * whole, "b: api 20 µs": 0.5 * whole},
        abs=0.1,
    )


def test_a_flame_begins_at_the_loop_and_counts_every_stack():
    loop = "main (a.py:1);uv_run (core.c:464);uv__read (stream.c:9)"
    lane = f"{loop};Lane.data_received (hotpath/lane.py:110)"
    root = flame.grown(f"{lane};write (loop.c:7);write (libc.so.6) 30\n{lane} 10\nmain (a.py:1) 2")
    served = root.below["Lane.data_received, lane"]
    assert (root.samples, served.samples, served.colour) == (42, 40, "ours")
    written = served.below["uvloop"].below["write"]
    assert (written.samples, written.colour) == (30, "system")
