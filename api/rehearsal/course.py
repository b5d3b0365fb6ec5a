"""The course of a rehearsal: shadow, opening, rush, drain, close, evidence, and away with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic
from typing import Protocol

import msgspec

from api import auth
from api.rehearsal import evidence as gathering
from api.rehearsal.client import Client
from api.rehearsal.crowd import Buyer, draw_crowd
from api.rehearsal.evidence import Evidence
from api.rehearsal.rush import Rush
from api.rehearsal.score import Score
from api.rehearsal.verdict import Verdict, judge
from core import sales
from core.flows.copy_sale import shadow_sale
from core.flows.retire_sale import retire_sale
from core.flows.run_sale import arm_sale, close_sale
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.nodes import Redis

# Every API worker has heard of the sale long before it opens.
LEAD_S = 4.0
MARGIN_S = 300
RAMP_S = 2.0
TOKEN_TTL_S = 2 * 60 * 60
DRAIN_S_MAX = 60.0
SETTLE_S_MAX = 30.0
LOOK_S = 0.25
SHOW_S = 0.25


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`rate_per_s` for an open loop, or `at_once` for a closed one."""

    sale_id: sales.SaleId
    url: str
    buyers: int
    rate_per_s: float | None
    at_once: int | None
    double_clicks: float
    bots: float
    seconds: float
    seed: int
    connections_max: int
    units_max: int | None
    keep: bool


class Screen(Protocol):
    """What a rehearsal tells whoever watches it."""

    def say(self, what: str) -> None: ...
    def show(self, score: Score, now_s: float) -> None: ...


class Rehearsed(msgspec.Struct, frozen=True):
    shadow: sales.Sale
    quotas: dict[int, int]
    score: Score
    evidence: Evidence
    verdict: Verdict


class WrongShop(Exception):
    """The shop at that address does not know the shadow sale."""


async def rehearse(
    pool: db.Pool, redis: Redis, plan: Plan, screen: Screen, *, token_secret: str
) -> Rehearsed:
    """Raises NoAddress, WrongShop and sales.NoSuchSale. In any case the shadow sale is closed."""
    client = Client(plan.url, connections_max=plan.connections_max)
    observer = Client(plan.url, connections_max=1)
    shadow, quotas = await raise_shadow(pool, redis, plan)
    score, evidence = Score(), Evidence()
    try:
        screen.say(f"sale {shadow.id} is sale {plan.sale_id}'s shadow; it opens in {LEAD_S:.0f} s")
        crowd = draw(plan, list(quotas), token_secret=token_secret)
        async with client, observer:
            opens_at = await opening(observer, shadow)
            watchers = watch(pool, redis, observer, screen, score, evidence, shadow.id, opens_at)
            async with watchers:
                await rush(client, score, plan, crowd, sale_id=shadow.id, opens_at=opens_at)
                screen.say("the rush is over; waiting until everything is written down")
                evidence.drained_s = await drained(pool, redis, shadow.id)
            screen.say("closing the sale, then asking after every order")
            evidence.settled = await close_and_settle(pool, redis, shadow.id)
            await gather(evidence, pool, redis, client, score, plan, shadow.id, opens_at)
    finally:
        await close_anyhow(pool, redis, shadow.id)
    verdict = judge(score, evidence, quotas=quotas)
    await clear_away(pool, redis, plan, screen, shadow.id)
    return Rehearsed(shadow, quotas, score, evidence, verdict)


async def raise_shadow(
    pool: db.Pool, redis: Redis, plan: Plan
) -> tuple[sales.Sale, dict[int, int]]:
    starts_at = datetime.now(UTC) + timedelta(seconds=LEAD_S)
    shadow = await shadow_sale(
        pool,
        sale_id=plan.sale_id,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(seconds=plan.seconds + MARGIN_S),
        units_max=plan.units_max,
    )
    shadow = await arm_sale(pool, redis, sale_id=shadow.id)
    async with db.reading(pool) as conn:
        items = await sales.items(conn, sale_id=shadow.id)
    return shadow, {item.sku_id: item.quota for item in items}


def draw(plan: Plan, sku_ids: list[int], *, token_secret: str) -> list[Buyer]:
    now_s = int(datetime.now(UTC).timestamp())

    def token_of(member_id: int) -> str:
        return auth.issue(
            token_secret, subject=str(member_id), role="member", now_s=now_s, ttl_s=TOKEN_TTL_S
        )

    return draw_crowd(
        Random(plan.seed),  # noqa: S311  a rehearsal has to be drawn again, not to be secret
        buyers=plan.buyers,
        rate_per_s=plan.rate_per_s,
        ramp_s=RAMP_S,
        double_clicks=plan.double_clicks,
        bots=plan.bots,
        sku_ids=sku_ids,
        token_of=token_of,
    )


async def opening(observer: Client, shadow: sales.Sale) -> float:
    """When it opens by the shop's clock, by `time.monotonic`."""
    told = await gathering.ask_sale(observer, shadow.id)
    if told is None:
        raise WrongShop(
            f"it does not answer, or does not know sale {shadow.id}: does it use the same database?"
        )
    server_time = datetime.fromisoformat(told.server_time)
    wait_s = (shadow.starts_at - server_time).total_seconds()
    return monotonic() + wait_s


@asynccontextmanager
async def watch(
    pool: db.Pool,
    redis: Redis,
    observer: Client,
    screen: Screen,
    score: Score,
    evidence: Evidence,
    sale_id: sales.SaleId,
    opens_at: float,
) -> AsyncIterator[None]:
    """Audit, ask what is left, and show how far it is, as long as the body lasts."""
    tasks = [
        asyncio.create_task(work)
        for work in (
            gathering.keep_auditing(evidence, pool, redis, sale_id=sale_id, opens_at=opens_at),
            gathering.keep_asking_what_is_left(
                evidence, score, observer, sale_id=sale_id, opens_at=opens_at
            ),
            keep_showing(screen, score, opens_at),
        )
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def keep_showing(screen: Screen, score: Score, opens_at: float) -> None:
    while True:
        screen.show(score, monotonic() - opens_at)
        await asyncio.sleep(SHOW_S)


async def rush(
    client: Client,
    score: Score,
    plan: Plan,
    crowd: list[Buyer],
    *,
    sale_id: sales.SaleId,
    opens_at: float,
) -> None:
    buyers = Rush(
        client, score, sale_id=sale_id, opens_at=opens_at, ends_at=opens_at + plan.seconds
    )
    if plan.at_once is None:
        await buyers.arrive(crowd)
    else:
        await buyers.queue(crowd, at_once=plan.at_once)


async def drained(pool: db.Pool, redis: Redis, sale_id: sales.SaleId) -> float | None:
    """Wait until nothing is in flight; None when that takes too long."""
    began = monotonic()
    while (now := monotonic()) < began + DRAIN_S_MAX:
        look = await gathering.look_at_books(pool, redis, sale_id=sale_id, at_s=0)
        if not look.problem and look.in_flight == 0:
            return now - began
        await asyncio.sleep(LOOK_S)
    return None


async def close_and_settle(pool: db.Pool, redis: Redis, sale_id: sales.SaleId) -> bool:
    """Close it and wait until the conductor has settled it."""
    with suppress(sales.Unavailable):  # the conductor tells Redis later
        await close_sale(pool, redis, sale_id=sale_id)
    deadline = monotonic() + SETTLE_S_MAX
    while monotonic() < deadline:
        async with db.reading(pool) as conn:
            if await sales.is_settled(conn, sale_id=sale_id):
                return True
        await asyncio.sleep(LOOK_S)
    return False


async def gather(
    evidence: Evidence,
    pool: db.Pool,
    redis: Redis,
    client: Client,
    score: Score,
    plan: Plan,
    sale_id: sales.SaleId,
    opens_at: float,
) -> None:
    accepted = list(score.accepted.values())
    at_once = plan.connections_max
    evidence.states = await gathering.ask_after_orders(client, accepted, at_once=at_once)
    evidence.repeated = await gathering.click_again(
        client, accepted, sale_id=sale_id, at_once=at_once
    )
    evidence.rows = await gathering.read_rows(pool, sale_id=sale_id)
    at_s = monotonic() - opens_at
    evidence.looks.append(await gathering.look_at_books(pool, redis, sale_id=sale_id, at_s=at_s))


async def close_anyhow(pool: db.Pool, redis: Redis, sale_id: sales.SaleId) -> None:
    with suppress(sales.IllegalMove, sales.Unavailable):
        await close_sale(pool, redis, sale_id=sale_id)


async def clear_away(
    pool: db.Pool, redis: Redis, plan: Plan, screen: Screen, sale_id: sales.SaleId
) -> None:
    if plan.keep:
        screen.say(f"sale {sale_id} is closed and kept; `sluice sale retire {sale_id}` clears it")
        return
    try:
        await retire_sale(pool, redis, sale_id=sale_id, age_min_s=0)
    except Refusal as refusal:
        screen.say(f"sale {sale_id} is closed, but cannot be retired: {refusal}")
