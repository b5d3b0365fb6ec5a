"""The Lua scripts, the key names of a bucket, and one typed door a verb.

The doors take redis-py clients, made with retries off: a command that redis-py repeats by itself
would claim or give back twice. The gate has its own way to claim.
"""

import enum
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from hotpath import claims
from hotpath.claims import BucketFacts, Claim, Verdict


class Script(msgspec.Struct, frozen=True):
    source: str
    sha1: str


def load(verb: str) -> Script:
    source = resources.files("hotpath").joinpath(f"lua/{verb}.lua").read_text(encoding="utf-8")
    # Redis names a script by its SHA-1; nothing is kept secret by it.
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


CLAIM = load("claim")
RELEASE = load("release")
BOOKS = load("books")
LOOK = load("look")
DEBIT = load("debit")
CREDIT = load("credit")


class BucketKeys:
    """The Redis keys of one bucket. The braces keep them all on one cluster slot."""

    __slots__ = (
        "answers",
        "back",
        "claims",
        "left",
        "limits",
        "members",
        "returned",
        "sale",
        "transferred",
        "transfers",
    )

    def __init__(self, number: int) -> None:
        self.sale = f"sluice:{{{number}}}:sale"
        self.left = f"sluice:{{{number}}}:left"
        self.limits = f"sluice:{{{number}}}:limits"
        self.members = f"sluice:{{{number}}}:members"
        self.answers = f"sluice:{{{number}}}:answers"
        self.claims = f"sluice:{{{number}}}:claims"
        self.returned = f"sluice:{{{number}}}:returned"
        self.back = f"sluice:{{{number}}}:back"
        self.transfers = f"sluice:{{{number}}}:transfers"
        self.transferred = f"sluice:{{{number}}}:transferred"

    def for_claim(self) -> tuple[str, ...]:
        return (self.sale, self.left, self.limits, self.members, self.answers, self.claims)

    def for_release(self) -> tuple[str, ...]:
        return (self.sale, self.left, self.members, self.returned, self.back)

    def for_books(self) -> tuple[str, ...]:
        return (self.sale, self.left, self.back, self.claims, self.transferred)

    def for_debit(self) -> tuple[str, ...]:
        return (self.sale, self.left, self.transfers, self.transferred)

    for_credit = for_debit

    def for_look(self) -> tuple[str, ...]:
        return (self.sale, self.left, self.limits, self.answers, self.transfers)

    def all(self) -> tuple[str, ...]:
        return (*self.for_claim(), self.returned, self.back, self.transfers, self.transferred)


class Released(enum.IntEnum):
    GIVEN_BACK = 1
    ALREADY = 0
    OTHER_EPOCH = -1
    CLOSED = -2


async def release(
    redis: Redis,
    keys: BucketKeys,
    *,
    stamp: str,
    order_id: str,
    sku_id: int,
    member_id: int,
    quantity: int,
) -> Released:
    """Give an order's units back. Safe to repeat after any failure."""
    arguments = (stamp, order_id, sku_id, member_id, quantity)
    return Released(await run(redis, RELEASE, keys.for_release(), arguments))


async def debit(
    redis: Redis, keys: BucketKeys, *, stamp: str, transfer_id: int, sku_id: int, units_max: int
) -> int | None:
    """Take what is left of so many units out, once a transfer: the same number for every repeat.

    None where Redis bears another stamp.
    """
    arguments = (stamp, transfer_id, sku_id, units_max)
    units = await run(redis, DEBIT, keys.for_debit(), arguments)
    return None if units == -1 else units


async def credit(
    redis: Redis, keys: BucketKeys, *, stamp: str, transfer_id: int, sku_id: int, units: int
) -> bool:
    """Put units in, once a transfer. False where Redis bears another stamp."""
    arguments = (stamp, transfer_id, sku_id, units)
    return await run(redis, CREDIT, keys.for_credit(), arguments) != -1


async def transfers(redis: Redis, keys: BucketKeys) -> set[int]:
    """Ids of all transfers that took units out or put them in, in this epoch."""
    found: Any = await redis.hkeys(keys.transfers)
    return {int(name) for name in found}


class Books(msgspec.Struct, frozen=True):
    """One atomic look at a bucket. `stamp` and `state` are empty where Redis has no such sale.

    `last` is the position of the last claim ever; all above `deleted` is still there. `accepted` is
    how many claims this epoch has taken.
    """

    stamp: str
    state: str
    now_ms: int
    last: str
    deleted: str
    left: dict[int, int]
    back: dict[int, int]
    transferred: dict[int, int]
    accepted: int


class DamagedBooks(Exception):
    """What Redis keeps of a bucket is not what we wrote."""


async def books(redis: Redis, keys: BucketKeys) -> Books:
    """Raises DamagedBooks."""
    try:
        found = await run(redis, BOOKS, keys.for_books(), ())
    except ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            raise DamagedBooks(str(error)) from error
        raise
    stamp, state, now_ms, last, deleted, left, back, transferred, accepted = found
    return Books(
        _text(stamp),
        _text(state),
        now_ms,
        _text(last),
        _text(deleted),
        _counts(left),
        _counts(back),
        _counts(transferred),
        _count(accepted),
    )


async def left(redis: Redis, keys: BucketKeys) -> dict[int, int]:
    """Units still for sale, by SKU. Raises DamagedBooks."""
    found: Any = await redis.hgetall(keys.left)
    try:
        return {int(sku_id): int(units) for sku_id, units in found.items()}
    except ValueError:
        raise DamagedBooks("a count is no number") from None


async def process_of(redis: Redis) -> str:
    """Return the run id of the Redis process that a client reaches."""
    return (await redis.info("server"))["run_id"]


async def stamp(redis: Redis, keys: BucketKeys) -> str:
    """Return the stamp that Redis bears for this bucket; empty where it has none."""
    found: Any = await redis.hget(keys.sale, "stamp")
    return _text(found or b"")


async def claim_now(
    redis: Redis,
    facts: BucketFacts,
    wanted: Sequence[Claim],
    *,
    key_id: int,
    backlog_max: int,
) -> list[Verdict]:
    """Claim without the gate, in one call: for journeys that claim now and then.

    Every claim gets a verdict; a connection that breaks in between makes all of them unknown.
    """
    arguments = claims.pack_batch(facts, wanted, key_id=key_id, backlog_max=backlog_max)
    nothing, sent = [claims.UNAVAILABLE] * len(wanted), False
    try:
        # One held connection: redis-py never reconnects it in silence between look and claim.
        async with redis.client() as held:
            if await process_of(held) != facts.run_id:
                return nothing
            sent = True
            reply = await run(held, CLAIM, BucketKeys(facts.number).for_claim(), arguments)
    except RedisError as error:
        return [_read_exception(error)] * len(wanted) if sent else nothing
    return claims.read_batch(reply, facts, wanted, key_id=key_id).verdicts


def _read_exception(error: RedisError) -> Verdict:
    # Of an error reply redis-py keeps the first word where it knows it, else the whole text.
    reply = str(error) if isinstance(error, ResponseError) else ""
    return claims.read_error(error.status_code or reply)


async def run(
    redis: Redis, script: Script, keys: Sequence[str], arguments: Sequence[str | int]
) -> Any:  # noqa: ANN401 - each script returns its own shape
    try:
        return await redis.evalsha(script.sha1, len(keys), *keys, *arguments)
    except NoScriptError:
        # Nothing ran, so saying it again in full is not a repeat.
        return await redis.eval(script.source, len(keys), *keys, *arguments)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("ascii", "replace")


def _count(value: bytes | str) -> int:
    try:
        return int(_text(value))
    except ValueError:
        raise DamagedBooks("a count is no number") from None


def _counts(flat: Sequence[bytes | str]) -> dict[int, int]:
    numbers = [_count(value) for value in flat]
    return dict(zip(numbers[::2], numbers[1::2], strict=True))
