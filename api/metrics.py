"""What Prometheus reads: requests and claims as they pass, the books as Postgres has them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.problems import AWAY
from core import disputes, feeds, fulfilment, ledger, sales, staff, webhooks
from core.flows.measure_herald import behind_s
from core.kit import db, outbox
from core.kit.refusal import Refusal, slug
from hotpath.till import Till

log = structlog.get_logger()

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
STARTED = "sluice_started"
LEAD_DAYS = 1
# What the lane refuses before it looks at the claim.
NO_CLAIM = "unauthenticated"

# When each series began would double what every scrape carries.
disable_created_metrics()  # type: ignore[no-untyped-call]

CLAIM_ROUTE = "/v1/sales/{sale_id}/orders"


class Latency(Histogram):
    """A histogram that also takes what was counted elsewhere."""

    def add(self, within: list[int], seconds: float) -> None:
        """Add so many for each of its buckets, the unbounded one last, and the sum of them all."""
        for bucket, count in zip(self._buckets, within, strict=True):
            bucket.inc(count)
        self._sum.inc(seconds)


REQUESTS = Counter("sluice_requests", "Answers sent.", ["method", "route", "status"])
SECONDS = Latency("sluice_request_seconds", "Time to answer.", ["route"], buckets=LATENCY_S)
CLAIMS = Counter("sluice_claims", "Claims by what came of them.", ["verdict"])
SOLD_OUT_HERE = Counter(
    "sluice_claims_sold_out_here", "Claims refused as sold out without asking Redis."
)
SHED = Counter("sluice_shed", "Claims turned away for want of time or room.", ["reason"])


def time_requests(app: ASGIApp) -> ASGIApp:
    """Middleware: note when a request began."""

    async def timed(scope: Scope, receive: Receive, send: Send) -> None:
        scope[STARTED] = time.perf_counter()  # type: ignore[literal-required]
        await app(scope, receive, send)

    return timed


async def count_request(message: Message, scope: Scope) -> None:
    """Hook before each message that is sent: count the answer by its route's template."""
    if message["type"] != "http.response.start":
        return
    method = str(scope.get("method", ""))
    route = scope.get("path_template") or "none"
    REQUESTS.labels(method, route, str(message["status"])).inc()
    started = scope.get(STARTED)
    if isinstance(started, float):
        SECONDS.labels(route).observe(time.perf_counter() - started)


@contextmanager
def counting_claim() -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        CLAIMS.labels(slug(type(refusal))).inc()
        raise
    CLAIMS.labels("accepted").inc()


def add_figures(till: Till) -> None:
    """Add what the lane answered, and what was turned away, since the last time."""
    told, within, seconds = till.figures.take()
    for (status, verdict), count in told.items():
        REQUESTS.labels("POST", CLAIM_ROUTE, str(status)).inc(count)
        if verdict != NO_CLAIM:
            CLAIMS.labels(verdict).inc(count)
    SECONDS.labels(CLAIM_ROUTE).add(within, seconds)
    for reason, count in till.gate.shed.items():
        SHED.labels(reason).inc(count)
    till.gate.shed.clear()
    SOLD_OUT_HERE.inc(till.gate.counters.sold_out)
    till.gate.counters.sold_out = 0


class Known(NamedTuple):
    """What Postgres said a moment ago."""

    audits: list[sales.Audit]
    booked: ledger.Audit | None
    waiting: int
    parked: int
    feeds: list[feeds.Feed]
    proof: staff.Proof | None
    deliveries: webhooks.Figures
    behind_s: float
    leads: fulfilment.LeadSummary
    contested: disputes.Standing


async def known(conn: db.Conn) -> Known:
    audits, booked = await sales.audits(conn), await ledger.last_audit(conn)
    waiting, parked = await outbox.count(conn)
    told, proof = await feeds.feeds(conn), await staff.last_proof(conn)
    deliveries, behind = await webhooks.figures(conn), await behind_s(conn)
    leads = await fulfilment.lead_times(conn, days=LEAD_DAYS)
    contested = await disputes.standing(conn)
    return Known(audits, booked, waiting, parked, told, proof, deliveries, behind, leads, contested)


class Books(Collector):
    def __init__(self, known: Known) -> None:
        self._known = known

    def collect(self) -> Iterator[GaugeMetricFamily]:
        drift = GaugeMetricFamily("sluice_sale_drift", "Units unaccounted for.", labels=["sale"])
        backlog = GaugeMetricFamily(
            "sluice_sale_backlog", "Claims accepted and not yet written.", labels=["sale"]
        )
        age = GaugeMetricFamily(
            "sluice_sale_audit_age_seconds", "Since the last audit.", labels=["sale"]
        )
        for audit in self._known.audits:
            drift.add_metric([str(audit.sale_id)], audit.drift)
            backlog.add_metric([str(audit.sale_id)], audit.backlog)
            age.add_metric([str(audit.sale_id)], audit.age_s)
        yield from (drift, backlog, age)
        if self._known.booked is not None:
            yield GaugeMetricFamily(
                "sluice_ledger_drift",
                "Entries missing, too many or uneven.",
                self._known.booked.drift,
            )
            yield GaugeMetricFamily(
                "sluice_ledger_audit_age_seconds", "Since the last round.", self._known.booked.age_s
            )
        yield GaugeMetricFamily(
            "sluice_outbox_waiting", "Messages to deliver.", self._known.waiting
        )
        yield GaugeMetricFamily(
            "sluice_outbox_parked", "Messages given up, for a person to see to.", self._known.parked
        )
        yield from self._freshness()
        yield from self._deliveries()
        yield from self._lead_times()
        yield from self._disputes()
        if self._known.proof is not None:
            yield GaugeMetricFamily(
                "sluice_staff_log_broken",
                "Whether the log of staff is not as it was written.",
                bool(self._known.proof.wrong),
            )
            yield GaugeMetricFamily(
                "sluice_staff_log_proof_age_seconds",
                "Since the notary's last word.",
                self._known.proof.age_s,
            )

    def _deliveries(self) -> Iterator[GaugeMetricFamily]:
        told = self._known.deliveries
        for name, what, figure in (
            ("pending", "Messages on their way to subscribers.", told.pending),
            ("oldest_seconds", "How long the oldest of them waits.", told.oldest_s),
            (
                "behind_seconds",
                "Since the oldest event that is not written down for its subscribers.",
                self._known.behind_s,
            ),
            ("given_up", "Messages that never arrived, and are not tried again.", told.given_up),
            ("failing", "Subscriptions whose last attempt failed.", told.failing),
            ("disabled", "Subscriptions that are told nothing any more.", told.disabled),
        ):
            yield GaugeMetricFamily(f"sluice_webhooks_{name}", what, figure)

    def _disputes(self) -> Iterator[GaugeMetricFamily]:
        told = self._known.contested
        yield GaugeMetricFamily("sluice_disputes_open", "Payments that buyers contest.", told.open)
        yield GaugeMetricFamily(
            "sluice_disputes_to_answer", "Of these, those that wait for an answer.", told.ours
        )
        if told.due_s is not None:
            yield GaugeMetricFamily(
                "sluice_disputes_due_seconds", "Until the first of them is due.", told.due_s
            )

    def _lead_times(self) -> Iterator[GaugeMetricFamily]:
        to_shipped, to_delivered, waiting = self._known.leads
        yield GaugeMetricFamily(
            "sluice_unshipped_orders", "Paid, planned, and not all of it has left.", waiting.orders
        )
        yield GaugeMetricFamily(
            "sluice_unshipped_oldest_seconds", "Since the first of them is paid.", waiting.oldest_s
        )
        took = GaugeMetricFamily(
            "sluice_lead_seconds",
            "From the payment on, of orders of today and yesterday (UTC).",
            labels=["to", "quantile"],
        )
        for to, times in (("shipped", to_shipped), ("delivered", to_delivered)):
            for quantile, took_s in (("0.5", times.p50_s), ("0.9", times.p90_s)):
                if took_s is not None:
                    took.add_metric([to, quantile], took_s)
        yield took

    def _freshness(self) -> Iterator[GaugeMetricFamily]:
        labels = ["system", "place"]
        age = GaugeMetricFamily(
            "sluice_feed_age_seconds", "Since a system's last word about a place.", labels=labels
        )
        silent = GaugeMetricFamily(
            "sluice_feed_silent", "Whether that is longer than it promised.", labels=labels
        )
        for feed in self._known.feeds:
            age.add_metric([feed.system, str(feed.place_id)], feed.age_s)
            silent.add_metric([feed.system, str(feed.place_id)], feed.is_silent)
        yield from (age, silent)


@get("/metrics", media_type="text/plain", tags=["operations"], include_in_schema=False)
async def metrics(pool: NamedDependency[db.Pool], till: NamedDependency[Till]) -> Response[bytes]:
    """Prometheus' text format. With Postgres away, the books are missing and the rest is there."""
    add_figures(till)
    text = generate_latest(_processes())
    try:
        async with db.reading(pool) as conn:
            books = Books(await known(conn))
    except AWAY as error:
        log.warning("the books cannot be read", error=repr(error))
    else:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(books)
        text += generate_latest(registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _processes() -> CollectorRegistry:
    """Figures of this process, or of all workers together where `sluice serve` runs several."""
    if FOLDER not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
