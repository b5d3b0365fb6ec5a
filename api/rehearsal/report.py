"""The evidence of a rehearsal as files: JSON for programs, CSV for plots, Markdown for people."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from api.rehearsal.course import Plan, Rehearsed
from api.rehearsal.score import ACCEPTED, Attempt
from api.rehearsal.verdict import Figures, Latency, Verdict
from api.rehearsal.words import WORDS, Words

BUCKETS_PER_DECADE = 10
PLOTS = ("accepted.png", "left.png", "latency.png")


class Told(msgspec.Struct, frozen=True):
    """verdict.json."""

    sale_id: str
    shadow_sale_id: str
    passed: bool
    verdict: Verdict
    how: dict[str, str]


def write(folder: Path, rehearsed: Rehearsed, plan: Plan, how: Mapping[str, str]) -> None:
    """Everything but the plots. `how` is what a reader needs to do it again."""
    folder.mkdir(parents=True, exist_ok=True)
    verdict = rehearsed.verdict
    told = Told(str(plan.sale_id), str(rehearsed.shadow.id), verdict.passed, verdict, {**how})
    written = msgspec.json.format(msgspec.json.encode(told), indent=2)
    (folder / "verdict.json").write_bytes(written + b"\n")
    attempts, evidence = rehearsed.score.attempts, rehearsed.evidence
    write_csv(
        folder / "attempts.csv", Attempt.__struct_fields__, map(msgspec.structs.astuple, attempts)
    )
    write_csv(
        folder / "left.csv", ("at_s", "left"), [(look.at_s, look.left) for look in evidence.lefts]
    )
    write_csv(
        folder / "audits.csv",
        ("at_s", "drift", "oversold", "in_flight", "sold", "left", "problem"),
        map(msgspec.structs.astuple, evidence.looks),
    )
    write_csv(folder / "accepted.csv", ("second", "accepted", "refused"), by_second(attempts))
    write_csv(folder / "latency.csv", ("below_ms", "accepted", "refused"), by_latency(attempts))


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for row in rows:
            writer.writerow(
                [f"{value:.6f}" if isinstance(value, float) else value for value in row]
            )


def by_second(attempts: Sequence[Attempt]) -> list[tuple[int, int, int]]:
    """Second since the opening, acceptances, refusals; below zero the door was shut."""
    yes = Counter(int(a.ended_s // 1) for a in attempts if a.told == ACCEPTED)
    no = Counter(int(a.ended_s // 1) for a in attempts if a.told != ACCEPTED)
    seconds = yes.keys() | no.keys()
    if not seconds:
        return []
    return [(s, yes[s], no[s]) for s in range(min(seconds), max(seconds) + 1)]


def by_latency(attempts: Sequence[Attempt]) -> list[tuple[float, int, int]]:
    """Ten bins a decade from 0.1 ms up: upper edge, acceptances, refusals. No answer, no bin."""
    yes: Counter[int] = Counter()
    no: Counter[int] = Counter()
    for attempt in attempts:
        if attempt.status:
            (yes if attempt.told == ACCEPTED else no)[bin_of(attempt.latency_s * 1_000)] += 1
    bins = yes.keys() | no.keys()
    return [(edge_ms(b), yes[b], no[b]) for b in range(max(bins, default=-1) + 1)]


def bin_of(latency_ms: float) -> int:
    found = 0
    while edge_ms(found) <= latency_ms:
        found += 1
    return found


def edge_ms(number: int) -> float:
    return float(0.1 * 10 ** ((number + 1) / BUCKETS_PER_DECADE))


def write_reports(
    folder: Path, rehearsed: Rehearsed, plan: Plan, how: Mapping[str, str], *, plotted: bool
) -> None:
    """report.md and its Chinese twin."""
    for language, words in WORDS.items():
        name = "report.md" if language == "en" else f"report.{language}-CN.md"
        text = "\n".join(report(rehearsed.verdict, plan, how, words, plotted=plotted))
        (folder / name).write_text(text + "\n", encoding="utf-8")


def report(
    verdict: Verdict, plan: Plan, how: Mapping[str, str], words: Words, *, plotted: bool
) -> list[str]:
    figures = verdict.figures
    outcome = words.passed if verdict.passed else words.failed
    slow_client = figures.held_back_ms_p99 > figures.every_answer_ms.p50
    return [
        f"# {words.title.format(sale=plan.sale_id)}: {outcome}",
        "",
        f"## {words.checks}",
        *table(words.checks_head, check_rows(verdict, words)),
        f"## {words.figures}",
        *table(words.figures_head, figure_rows(figures, words)),
        words.latency_note,
        *(["", words.held_back] if slow_client else []),
        "",
        f"## {words.refused}",
        *table(words.refused_head, [(k, f"{n:,}") for k, n in figures.refused.items()]),
        f"## {words.plots}",
        "",
        *([f"![{name}]({name})" for name in PLOTS] if plotted else [words.no_plots]),
        "",
        f"## {words.how}",
        *table(words.how_head, how.items()),
        f"## {words.files}",
        "",
        *(f"- [{name}]({name}): {what}" for name, what in words.file.items()),
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["", *("| " + " | ".join(line) + " |" for line in lines), ""]


def check_rows(verdict: Verdict, words: Words) -> list[tuple[str, str, str, str]]:
    return [
        (
            words.check[check.name],
            words.passed if check.passed else f"**{words.failed}**",
            f"{check.found:,}",
            check.detail.replace("|", "/"),
        )
        for check in verdict.checks
    ]


def figure_rows(figures: Figures, words: Words) -> list[tuple[str, str]]:
    return [(name, shown(getattr(figures, field), words)) for field, name in words.figure.items()]


def shown(value: object, words: Words) -> str:
    if value is None:
        return words.none
    if isinstance(value, Latency):
        return " / ".join(f"{ms:,.1f}" for ms in (value.p50, value.p90, value.p99, value.max))
    return f"{value:,}" if isinstance(value, int | float) else str(value)
