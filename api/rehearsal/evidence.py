"""What became of every 202: asked over HTTP as its buyer would, and looked up as a row."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

import msgspec
from redis.exceptions import RedisError

from api.rehearsal.client import Answer, Client, NoAnswer
from api.rehearsal.rush import ACCEPTED_STATUS, AGAIN, retry_after_s, who
from api.rehearsal.score import Accepted, Score
from core import orders, sales
from core.flows.audit_sale import SaleAudit, audit_sale
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.nodes import Redis

PAGE_MAX = 1_000
TRIES_MAX = 5
RETRY_S = 0.5
AUDIT_S = 1.0
LEFT_S = 0.25
OK = 200

Asked = Callable[[], Coroutine[Any, Any, Answer]]


class Row(msgspec.Struct, frozen=True):
    sku_id: int
    quantity: int
    live: bool


class Look(msgspec.Struct, frozen=True):
    """One audit. `problem` says why it could not look; `oversold` counts units above the quota."""

    at_s: float
    drift: int = 0
    oversold: int = 0
    in_flight: int = 0
    sold: int = 0
    left: int = 0
    problem: str = ""


class Left(msgspec.Struct, frozen=True):
    """Units of all SKUs together, as the shop tells its buyers."""

    at_s: float
    left: int


class Evidence(msgspec.Struct):
    """`states` is what `GET /v1/orders/{id}` says, by order id; `repeated` the bodies of one more
    click with each accepted key, after the close.
    """

    looks: list[Look] = []
    lefts: list[Left] = []
    states: dict[str, str] = {}
    repeated: dict[tuple[int, str], bytes] = {}
    rows: dict[str, Row] = {}
    drained_s: float | None = None
    settled: bool = False


class SoldItem(msgspec.Struct, frozen=True):
    left: int


class SaleAnswer(msgspec.Struct, frozen=True):
    state: str
    starts_at: str
    server_time: str
    items: list[SoldItem]


class OrderAnswer(msgspec.Struct, frozen=True):
    order_id: str
    state: str


async def look_at_books(pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId, at_s: float) -> Look:
    try:
        found = await audit_sale(pool, redis, sale_id=sale_id)
    except (Refusal, RedisError, OSError, TimeoutError) as error:
        return Look(at_s=at_s, problem=str(error) or repr(error))
    return Look(
        at_s=at_s,
        drift=found.drift,
        oversold=oversold(found),
        in_flight=found.in_flight,
        sold=sum(item.sold for item in found.items),
        left=sum(item.left for item in found.items),
    )


def oversold(audit: SaleAudit) -> int:
    return sum(max(0, item.sold + item.in_flight - item.quota, -item.left) for item in audit.items)


async def keep_auditing(
    evidence: Evidence, pool: db.Pool, redis: Redis, *, sale_id: sales.SaleId, opens_at: float
) -> None:
    """For ever; cancel it."""
    while True:
        at_s = monotonic() - opens_at
        evidence.looks.append(await look_at_books(pool, redis, sale_id=sale_id, at_s=at_s))
        await asyncio.sleep(AUDIT_S)


async def keep_asking_what_is_left(
    evidence: Evidence, score: Score, client: Client, *, sale_id: sales.SaleId, opens_at: float
) -> None:
    """For ever; cancel it. An answer that does not come is no sample."""
    while True:
        sale = await ask_sale(client, sale_id)
        if sale is not None:
            score.left = sum(item.left for item in sale.items)
            evidence.lefts.append(Left(monotonic() - opens_at, score.left))
        await asyncio.sleep(LEFT_S)


async def ask_sale(client: Client, sale_id: sales.SaleId) -> SaleAnswer | None:
    try:
        answer = await client.ask("GET", f"/v1/sales/{sale_id}", headers={})
        return msgspec.json.decode(answer.body, type=SaleAnswer) if answer.status == OK else None
    except (NoAnswer, msgspec.DecodeError):
        return None


async def ask_after_orders(
    client: Client, accepted: Sequence[Accepted], *, at_once: int
) -> dict[str, str]:
    """The state of each order as its buyer sees it, or the status that came instead."""

    async def ask(one: Accepted) -> tuple[str, str]:
        return one.order_id, await order_state(client, one)

    return dict(await side_by_side([ask(one) for one in accepted], at_once=at_once))


async def order_state(client: Client, one: Accepted) -> str:
    answer = await patiently(
        lambda: client.ask("GET", f"/v1/orders/{one.order_id}", headers=who(one.buyer))
    )
    if answer is None:
        return "no-answer"
    try:
        found = msgspec.json.decode(answer.body, type=OrderAnswer)
    except msgspec.DecodeError:
        return f"status-{answer.status}"
    return found.state if found.order_id == one.order_id else "another-order"


async def click_again(
    client: Client, accepted: Sequence[Accepted], *, sale_id: sales.SaleId, at_once: int
) -> dict[tuple[int, str], bytes]:
    """Repeat every accepted claim once more: the bodies that came with a 202."""

    async def ask(one: Accepted) -> tuple[tuple[int, str], bytes]:
        answer = await patiently(
            lambda: client.ask(
                "POST",
                f"/v1/sales/{sale_id}/orders",
                headers={**who(one.buyer), "Idempotency-Key": one.key},
                body=msgspec.json.encode({"sku_id": str(one.buyer.sku_id), "quantity": 1}),
            )
        )
        same = answer is not None and answer.status == ACCEPTED_STATUS
        return (one.buyer.number, one.key), answer.body if answer and same else b""

    return dict(await side_by_side([ask(one) for one in accepted], at_once=at_once))


async def read_rows(pool: db.Pool, *, sale_id: sales.SaleId) -> dict[str, Row]:
    """Every order of the sale that Postgres has."""
    rows: dict[str, Row] = {}
    async with db.snapshot(pool) as conn:
        for bucket in await sales.buckets(conn, sale_id=sale_id):
            async for page in orders.written_in(conn, bucket=bucket.number, page_max=PAGE_MAX):
                rows.update({o.id: Row(o.sku_id, o.quantity, o.live) for o in page})
    return rows


async def patiently(ask: Asked) -> Answer | None:
    """Repeat what the shop says to repeat, a few times."""
    answer = None
    for _ in range(TRIES_MAX):
        try:
            answer = await ask()
        except NoAnswer:
            await asyncio.sleep(RETRY_S)
            continue
        if answer.status not in AGAIN:
            return answer
        await asyncio.sleep(retry_after_s(answer))
    return answer


async def side_by_side(work: Sequence[Coroutine[Any, Any, Any]], *, at_once: int) -> list[Any]:
    free = asyncio.Semaphore(at_once)

    async def one(piece: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  whatever it returns
        async with free:
            return await piece

    return await asyncio.gather(*map(one, work))
