"""The plots of a rehearsal. Needs matplotlib: the extra `rehearse`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from api.rehearsal.course import Rehearsed
from api.rehearsal.evidence import Left
from api.rehearsal.report import by_latency, by_second, edge_ms
from api.rehearsal.score import ACCEPTED, Accepted, Attempt

SIZE_INCHES = (8.0, 4.5)
DPI = 110
YES, NO = "tab:green", "tab:gray"


def draw(folder: Path, rehearsed: Rehearsed) -> None:
    """Draw accepted.png, left.png and latency.png."""
    score = rehearsed.score
    for name, axes in (
        ("accepted", accepted_over_time(score.attempts, list(score.accepted.values()))),
        ("left", left_over_time(rehearsed.evidence.lefts)),
        ("latency", latency_histogram(score.attempts)),
    ):
        figure = axes.get_figure()
        assert isinstance(figure, Figure)
        figure.savefig(folder / f"{name}.png", dpi=DPI)


def new_axes(title: str, x: str, y: str) -> Axes:
    axes = Figure(figsize=SIZE_INCHES, layout="constrained").subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(visible=True, alpha=0.3)
    return axes


def accepted_over_time(attempts: Sequence[Attempt], accepted: Sequence[Accepted]) -> Axes:
    axes = new_axes("Answers over time", "seconds since the opening", "answers per second")
    seconds = by_second(attempts)
    starts = [second for second, _, _ in seconds]
    yes, no = [row[1] for row in seconds], [row[2] for row in seconds]
    axes.bar(starts, yes, width=1, align="edge", color=YES, alpha=0.7, label="accepted")
    axes.bar(starts, no, bottom=yes, width=1, align="edge", color=NO, alpha=0.5, label="refused")
    axes.legend(loc="upper left")
    total = axes.twinx()
    at = sorted(one.at_s for one in accepted)
    total.step(at, range(1, len(at) + 1), where="post", color="black")
    total.set_ylabel("accepted in all")
    total.set_ylim(bottom=0)
    return axes


def left_over_time(lefts: Sequence[Left]) -> Axes:
    axes = new_axes("Units left", "seconds since the opening", "units, as the shop tells them")
    axes.step([look.at_s for look in lefts], [look.left for look in lefts], where="post")
    axes.set_ylim(bottom=0)
    return axes


def latency_histogram(attempts: Sequence[Attempt]) -> Axes:
    axes = new_axes("Latency", "ms from wanting to ask to the end of the answer", "answers")
    bins = by_latency(attempts)
    lower = [edge_ms(number - 1) for number in range(len(bins))]
    widths = [edge - low for (edge, _, _), low in zip(bins, lower, strict=True)]
    yes, no = [row[1] for row in bins], [row[2] for row in bins]
    axes.bar(lower, yes, width=widths, align="edge", color=YES, label=ACCEPTED)
    axes.bar(lower, no, bottom=yes, width=widths, align="edge", color=NO, label="refused")
    axes.set_xscale("log")
    axes.legend()
    return axes
