"""Pass or fail, from what the buyers were told and what was found afterwards. Pure arithmetic."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from api.rehearsal.evidence import Evidence
from api.rehearsal.rush import ACCEPTED_STATUS, SERVER_ERROR
from api.rehearsal.score import ACCEPTED, Accepted, Attempt, Score, percentile

UNAVAILABLE = 503
# Whose last word was one of these has neither an order nor a refusal that stands.
UNDECIDED = frozenset(
    {"no-answer", "outcome-unknown", "busy", "unavailable", "sale-fenced", "sale-not-open"}
)


class Check(msgspec.Struct, frozen=True):
    """`found` must be 0 to pass. `detail` is the arithmetic behind it."""

    name: str
    passed: bool
    found: int
    detail: str


class Latency(msgspec.Struct, frozen=True):
    """From the moment a buyer wanted to ask to the end of the answer, in milliseconds."""

    answers: int
    p50: float
    p90: float
    p99: float
    max: float


class Figures(msgspec.Struct, frozen=True):
    """`sell_out_s`, from the opening to the last unit, is null when units are left."""

    buyers: int
    attempts: int
    quota: int
    accepted: int
    accepted_per_s: float
    peak_accepted_per_s: int
    sell_out_s: float | None
    accepted_ms: Latency
    every_answer_ms: Latency
    held_back_ms_p99: float
    refused: dict[str, int]
    drained_s: float | None
    audits: int


class Verdict(msgspec.Struct, frozen=True):
    passed: bool
    checks: list[Check]
    figures: Figures


def judge(score: Score, evidence: Evidence, *, quotas: Mapping[int, int]) -> Verdict:
    """`quotas` is what was for sale: SKU -> units."""
    accepted = list(score.accepted.values())
    checks = [
        nobody_served(accepted),
        oversold(accepted, evidence, quotas),
        lost(accepted, evidence),
        doubled(accepted, evidence),
        rejected(accepted, evidence),
        undecided(score),
        broken(score.attempts),
        drifted(evidence),
        unaudited(evidence),
        undrained(evidence),
    ]
    return Verdict(
        passed=all(check.passed for check in checks),
        checks=checks,
        figures=figures(score, evidence, accepted, quotas),
    )


def check(name: str, found: int, detail: str) -> Check:
    return Check(name, found == 0, found, detail)


def nobody_served(accepted: Sequence[Accepted]) -> Check:
    return check("nobody-served", int(not accepted), f"{len(accepted)} accepted")


def oversold(accepted: Sequence[Accepted], evidence: Evidence, quotas: Mapping[int, int]) -> Check:
    """By three counts that know nothing of each other: the buyers', the rows' and the audit's."""
    promised: Counter[int] = Counter()
    for one in {one.order_id: one for one in accepted}.values():
        promised[one.sku_id] += one.quantity
    written: Counter[int] = Counter()
    for row in evidence.rows.values():
        written[row.sku_id] += row.quantity if row.live else 0
    by_buyers, by_rows = above(promised, quotas), above(written, quotas)
    by_audit = max((look.oversold for look in evidence.looks), default=0)
    return check(
        "oversold",
        max(by_buyers, by_rows, by_audit),
        f"above the quota of {sum(quotas.values()):,}: {by_buyers} by distinct order ids, "
        f"{by_rows} by live rows, {by_audit} by audit",
    )


def above(units: Mapping[int, int], quotas: Mapping[int, int]) -> int:
    return sum(max(0, count - quotas.get(sku_id, 0)) for sku_id, count in units.items())


def lost(accepted: Sequence[Accepted], evidence: Evidence) -> Check:
    """Every 202 must be an order that its buyer can look at, and a row."""
    ids = {one.order_id for one in accepted}
    unseen = {i for i in ids if is_missing(evidence.states.get(i, "not-asked"))}
    unwritten = ids - evidence.rows.keys()
    return check(
        "lost",
        len(unseen | unwritten),
        f"of {len(ids):,} orders, {len(unseen)} not found over HTTP, {len(unwritten)} not a row",
    )


def is_missing(state: str) -> bool:
    return state.startswith("status-") or state in {"no-answer", "not-asked", "another-order"}


def doubled(accepted: Sequence[Accepted], evidence: Evidence) -> Check:
    """One key, one body, for ever; and no two keys share an order."""
    clicked = sum(len(one.bodies) > 1 for one in accepted)
    repeated = sum(
        {evidence.repeated.get((one.buyer.number, one.key), b"")} != one.bodies
        for one in accepted
        if len(one.bodies) == 1
    )
    shared = len(accepted) - len({one.order_id for one in accepted})
    return check(
        "doubled",
        clicked + repeated + shared,
        f"of {len(accepted):,} keys, {clicked} were told two bodies, {repeated} another one when "
        f"repeated after the close, {shared} the order of another key",
    )


def rejected(accepted: Sequence[Accepted], evidence: Evidence) -> Check:
    """Lawful after a lost disk; with every server up, a 202 was a word that did not hold."""
    found = sum(evidence.states.get(one.order_id) == "rejected" for one in accepted)
    return check("rejected", found, f"{found} of {len(accepted):,} orders")


def undecided(score: Score) -> Check:
    found = Counter(told for told in score.last_word.values() if is_undecided(told))
    return check(
        "undecided",
        found.total(),
        ", ".join(f"{count} {told}" for told, count in found.most_common()) or "none",
    )


def is_undecided(told: str) -> bool:
    return told in UNDECIDED or told.startswith("status-5")


def broken(attempts: Sequence[Attempt]) -> Check:
    """503 says what to do; any other 5xx is a bug, and so is a 202 that nobody can read."""
    found = Counter(
        attempt.status
        for attempt in attempts
        if (attempt.status >= SERVER_ERROR and attempt.status != UNAVAILABLE)
        or (attempt.status == ACCEPTED_STATUS and attempt.told != ACCEPTED)
    )
    busy = sum(attempt.status == UNAVAILABLE for attempt in attempts)
    return check(
        "server-errors",
        found.total(),
        ", ".join(f"{count} answers {status}" for status, count in found.items())
        or f"none; {busy:,} answers 503, which say when to ask again",
    )


def drifted(evidence: Evidence) -> Check:
    worst = max((look.drift for look in evidence.looks), default=0)
    wrong = sum(look.drift != 0 for look in evidence.looks)
    return check("drift", worst, f"at worst {worst}; {wrong} of {len(evidence.looks)} audits")


def unaudited(evidence: Evidence) -> Check:
    """Some looks may fail while servers are busy. The last one may not."""
    problem = evidence.looks[-1].problem if evidence.looks else "no audit was made"
    failed = sum(bool(look.problem) for look in evidence.looks)
    return check(
        "unaudited",
        int(bool(problem)),
        problem or f"{len(evidence.looks) - failed} of {len(evidence.looks)} audits answered",
    )


def undrained(evidence: Evidence) -> Check:
    if evidence.drained_s is None:
        return check("undrained", 1, "claims were still in flight when the wait was over")
    if not evidence.settled:
        return check("undrained", 1, "drained, but the sale was not settled after its close")
    return check("undrained", 0, f"nothing in flight {evidence.drained_s:.1f} s after the rush")


def figures(
    score: Score, evidence: Evidence, accepted: Sequence[Accepted], quotas: Mapping[int, int]
) -> Figures:
    last_s = max((one.at_s for one in accepted), default=0.0)
    seconds = Counter(int(one.at_s) for one in accepted)
    sold = sum(one.quantity for one in accepted)
    quota = sum(quotas.values())
    held = sorted(attempt.sent_s - attempt.due_s for attempt in score.attempts)
    return Figures(
        buyers=score.came,
        attempts=len(score.attempts),
        quota=quota,
        accepted=len(accepted),
        accepted_per_s=round(len(accepted) / last_s, 1) if last_s > 0 else 0.0,
        peak_accepted_per_s=max(seconds.values(), default=0),
        sell_out_s=round(last_s, 3) if sold >= quota else None,
        accepted_ms=latency([a for a in score.attempts if a.told == ACCEPTED]),
        every_answer_ms=latency([a for a in score.attempts if a.status]),
        held_back_ms_p99=round(percentile(held, 99) * 1_000, 1),
        refused=dict(score.refused.most_common()),
        drained_s=None if evidence.drained_s is None else round(evidence.drained_s, 2),
        audits=len(evidence.looks),
    )


def latency(attempts: Sequence[Attempt]) -> Latency:
    ordered = sorted(attempt.latency_s * 1_000 for attempt in attempts)
    p50, p90, p99, most = (round(percentile(ordered, p), 1) for p in (50, 90, 99, 100))
    return Latency(len(ordered), p50, p90, p99, most)
