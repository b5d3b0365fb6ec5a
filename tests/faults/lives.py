"""The life of a shop whose Redis stands on a disk that forgets: claims, a power cut, the books.

One seed is one life: it chooses the claims, how they crowd, and how and when each cut comes. Timing
is the machine's own, so a seed replays the choices and not every microsecond.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeAlias

import asyncpg
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core import embedded, sales
from core.flows.audit_sale import audit_sale
from core.flows.directory import Directory
from core.flows.plan_sale import PlannedItem, plan_sale
from core.flows.run_sale import arm_sale
from core.flows.stock_products import NewProduct, stock_products
from core.jobs.auditor import Auditor
from core.jobs.conductor import Conductor
from core.jobs.fence import Fence
from core.jobs.order_writer import OrderWriter
from core.jobs.role import Role, perform
from core.kit import db
from hotpath import claims, ids, loading, scripts
from hotpath.claims import BucketFacts, Claim, Kind, SaleFacts, Verdict
from hotpath.entries import Entry, claims_of
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.nodes import Redis
from hotpath.receipts import Keyring
from hotpath.wire import Wire
from tests.faults.disks import PowerCutDisk
from tests.faults.forgetful import Forgotten
from tests.patience import PATIENCE_S

KEYRING = Keyring({1: b"a receipt key of the power cut test"})
BACKLOG_MAX = 1_000_000
HOUR = timedelta(hours=1)

MEMBERS = 400
MEMBER_LIMIT = 10_000
QUOTAS = (1_000_000,) * 7 + (50,)  # one SKU sells out on the way
GATES_MAX = 3
BUYERS_MAX = 120
AGAIN_BATCH = 500
STUMBLES = 0.3

WAYS = ("at once", "held", "in a rewrite", "held in a rewrite")
OPEN_AGAIN_S = 5.0

Buyer: TypeAlias = tuple[int, str]
"Member and idempotency key."


@dataclass
class Ledger:
    """What the buyers know: what they asked for, and what they were told."""

    asked: dict[Buyer, Claim] = field(default_factory=dict)
    accepted: dict[Buyer, str] = field(default_factory=dict)
    "The position they were told."
    unknown: set[Buyer] = field(default_factory=set)

    def note(self, claim: Claim, verdict: Verdict) -> None:
        buyer = (claim.member_id, claim.key)
        if verdict.kind is Kind.ACCEPTED:
            known = self.accepted.setdefault(buyer, verdict.position)
            assert known == verdict.position, f"{buyer} was told {known} and {verdict.position}"
        elif verdict.kind is Kind.UNKNOWN:
            self.unknown.add(buyer)


@dataclass(frozen=True)
class Cut:
    """One cut and what came of it. `lost` are acknowledged orders that are gone."""

    seed: int
    way: str
    acknowledged: int
    lost: frozenset[Buyer]
    forgotten: Forgotten
    open_again_s: float


class Life:
    """A bucket in Redis and its gates, without Postgres: the test says which process is trusted.

    Give `settings` to break the promise of the disk, and `tail` to choose what a cut leaves.
    """

    def __init__(
        self,
        disk: PowerCutDisk,
        log: Path,
        *,
        seed: int,
        settings: Mapping[str, str] | None = None,
        tail: str = "",
    ) -> None:
        self.disk = disk
        self.seed = seed
        self.tail = tail
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.numbers = itertools.count(1)
        self.gates: list[Gate] = []
        self.sale_id, self.bucket, self.stamp = 1, 7, "1.00c0ffee00c0ffee"
        self.quotas = dict(enumerate(QUOTAS, start=1))
        self.server = embedded.Redis(
            disk.folder / f"redis-{seed}",
            port=embedded.free_port(),
            log=log,
            binaries=os.environ.get("TEST_REDIS"),
            settings=settings,
        )
        self.server.environment = {**os.environ, **disk.environment}
        self.server.tell = lambda _: None

    @contextlib.asynccontextmanager
    async def lived(self) -> AsyncIterator[Self]:
        """Open the sale on an empty disk; whatever happens, leave no process behind."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                self.server.folder.mkdir()
                # Asked for once: it stands on the disk, and who reads a held disk waits for ever.
                self.url = self.server.url
                self.disk.sync()
                await asyncio.to_thread(self.server.start)
                for _ in range(self.rng.randint(1, GATES_MAX)):
                    wire = Wire(self.url, scripts=[scripts.CLAIM.source])
                    wire.start()
                    stack.push_async_callback(wire.aclose)
                    self.gates.append(Gate(wire, key_id=1, backlog_max=BACKLOG_MAX))
                await self.open_sale(stack)
                await self.claim_once()
                yield self
        except BaseException as error:
            error.add_note(f"replay it with TEST_SEED={self.seed}")
            raise
        finally:
            if self.disk.is_held():
                self.disk.cut(0)
            if self.server.process is not None:
                self.server.process.kill()
                self.server.wait_stopped(within_s=PATIENCE_S)

    async def open_sale(self, stack: contextlib.AsyncExitStack) -> None:
        now = datetime.now(UTC)
        keys = scripts.BucketKeys(self.bucket)
        limits = dict.fromkeys(self.quotas, MEMBER_LIMIT)
        async with self.client() as redis:
            await loading.begin(
                redis,
                keys,
                stamp=self.stamp,
                opens_at_ms=int((now - HOUR).timestamp() * 1000),
                closes_at_ms=int((now + HOUR).timestamp() * 1000),
                old_stamp="",
                cursor="0-0",
            )
            await loading.fill(redis, keys, keys.left, self.quotas, stamp=self.stamp)
            await loading.fill(redis, keys, keys.limits, limits, stamp=self.stamp)
            await loading.set_state(redis, keys, stamp=self.stamp, state="open")

    async def trust(self) -> None:
        """Tell the gates which process to trust: the one that stands there."""
        async with self.client() as redis:
            run_id = (await redis.info("server"))["run_id"]
        facts = BucketFacts(self.bucket, 1, self.stamp, run_id)
        for gate in self.gates:
            gate.know({self.sale_id: SaleFacts([facts])})

    async def cut(self, way: str, *, after: int) -> Cut:
        """Let the buyers in, cut the power once `after` more orders were acknowledged, look."""
        before = len(self.ledger.accepted)
        crowd = self.rng.randint(5, BUYERS_MAX)
        buyers = [asyncio.create_task(self.buy(gate)) for gate in self.gates for _ in range(crowd)]
        try:
            await self.reach(before + after)
            if "rewrite" in way:
                async with self.client() as redis:
                    await redis.bgrewriteaof()
            if "held" in way:
                await asyncio.to_thread(self.disk.hold_at, self.rng.randint(1, 60))
                await asyncio.to_thread(self.disk.wait_held, PATIENCE_S)
            elif "rewrite" in way:
                during = self.rng.randint(after // 4, after)
                await self.reach(len(self.ledger.accepted) + during)
        finally:
            # The instant of the cut, for Redis and for its child that rewrites the log. A process
            # that waits at a hold dies, and hangs up on its buyers, once the hold is over.
            os.killpg(self.server.pid, signal.SIGKILL)
            forgotten = await asyncio.to_thread(self.disk.cut, self.rng.getrandbits(32), self.tail)
            await asyncio.gather(*buyers)
        acknowledged = len(self.ledger.accepted) - before
        await asyncio.to_thread(self.server.process.wait, PATIENCE_S)
        if self.rng.random() < STUMBLES:
            await self.stumble()
        begun = time.monotonic()
        await asyncio.to_thread(self.server.start)
        lost = await self.lost()
        if not lost:
            await self.claim_once()
        took = time.monotonic() - begun
        return Cut(self.seed, way, acknowledged, lost, forgotten, took)

    async def stumble(self) -> None:
        """The power fails again while Redis starts."""
        await asyncio.to_thread(self.server.spawn)
        await asyncio.to_thread(self.disk.hold_at, self.rng.randint(1, 6))
        await asyncio.sleep(self.rng.uniform(0, 0.1))
        os.killpg(self.server.pid, signal.SIGKILL)
        await asyncio.to_thread(self.disk.cut, self.rng.getrandbits(32), self.tail)
        await asyncio.to_thread(self.server.process.wait, PATIENCE_S)

    async def buy(self, gate: Gate) -> None:
        """One buyer after another over one gate, until it is of no use any more."""
        verdict = None
        while verdict is None or verdict.kind not in {Kind.UNKNOWN, Kind.UNAVAILABLE}:
            claim = self.wanted()
            verdict = await gate.ask(claim)
            self.ledger.note(claim, verdict)

    def wanted(self) -> Claim:
        """Mostly a new claim, now and then the second click on an old one."""
        if self.ledger.asked and self.rng.random() < 0.1:
            recent = list(itertools.islice(reversed(self.ledger.asked), 200))
            return self.ledger.asked[self.rng.choice(recent)]
        claim = Claim(
            sale_id=self.sale_id,
            member_id=self.rng.randint(1, MEMBERS),
            key=f"key-{next(self.numbers)}",
            sku_id=self.rng.choice(tuple(self.quotas)),
            quantity=self.rng.randint(1, 3),
        )
        self.ledger.asked[claim.member_id, claim.key] = claim
        return claim

    async def claim_once(self) -> None:
        """Every gate is open again."""
        async with asyncio.timeout(PATIENCE_S):
            await self.trust()
            for gate in self.gates:
                verdict = None
                while verdict is None or verdict.kind is not Kind.ACCEPTED:
                    claim = self.wanted()
                    verdict = await gate.ask(claim)
                    self.ledger.note(claim, verdict)
                    await asyncio.sleep(0.005)

    async def ask_again(self) -> None:
        """Every buyer repeats: the same answer to the told, one answer to those in doubt."""
        again = [self.ledger.asked[who] for who in (*self.ledger.accepted, *self.ledger.unknown)]
        for start in range(0, len(again), AGAIN_BATCH):
            batch = again[start : start + AGAIN_BATCH]
            gate = self.rng.choice(self.gates)
            verdicts = await asyncio.gather(*(gate.ask(claim) for claim in batch))
            for claim, verdict in zip(batch, verdicts, strict=True):
                self.ledger.note(claim, verdict)
                # Only who was in doubt may hear now that there is nothing left.
                fine = {Kind.ACCEPTED}
                if (claim.member_id, claim.key) not in self.ledger.accepted:
                    fine.add(Kind.SOLD_OUT)
                assert verdict.kind in fine, (claim, verdict)
        self.ledger.unknown.clear()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.ledger.accepted) < count:
                assert self.server.running(), self.server.last_words()
                await asyncio.sleep(0.001)

    async def lost(self) -> frozenset[Buyer]:
        """Which acknowledged orders are not where their buyers were told they are."""
        there = await self.stream()
        return frozenset(
            buyer
            for buyer, position in self.ledger.accepted.items()
            if position not in there or there[position][:2] != buyer
        )

    async def stream(self) -> dict[str, tuple[int, str, int, int]]:
        """By position: member, key, SKU, quantity. Every record is whole, or this raises."""
        async with self.client() as redis:
            entries = await redis.xrange(scripts.BucketKeys(self.bucket).claims)
        found = {}
        for position, fields in entries:
            entry = Entry(position.decode(), fields[b"c"], fields[b"n"])
            for claim in claims_of(entry):
                record = claims.decode_record(claim.record)
                found[claim.position] = (
                    record.member_id,
                    record.key,
                    record.sku_id,
                    record.quantity,
                )
        return found

    async def audit(self) -> None:
        """Check the books against the stream, and the stream against the buyers."""
        there = await self.stream()
        by_buyer = {(member, key): position for position, (member, key, _, _) in there.items()}
        assert len(by_buyer) == len(there), "a key was accepted twice"
        # Whoever was told that nothing happened was told the truth.
        assert by_buyer.keys() <= self.ledger.accepted.keys() | self.ledger.unknown
        sold, held = Counter(), Counter()
        for member, key, sku, quantity in there.values():
            asked = self.ledger.asked[member, key]
            assert (asked.sku_id, asked.quantity) == (sku, quantity), "a ghost"
            sold[sku] += quantity
            held[f"{sku}:{member}"] += quantity
        keys = scripts.BucketKeys(self.bucket)
        async with self.client() as redis:
            left = _numbers(await redis.hgetall(keys.left))
            members = _numbers(await redis.hgetall(keys.members))
            answers = await redis.hgetall(keys.answers)
        assert left == {str(sku): quota - sold[sku] for sku, quota in self.quotas.items()}
        assert members == held
        assert {
            field.decode(): answer.split(b",", 1)[0].decode() for field, answer in answers.items()
        } == {f"{member}:{key}": position for (member, key), position in by_buyer.items()}

    def client(self) -> Redis:
        """A client that repeats nothing by itself."""
        return Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=5)


class WholeLife(Life):
    """The same with Postgres: the fence admits, the writer drains, the auditor compares.

    Postgres stands on a disk of its own, which keeps its power.
    """

    def __init__(
        self,
        disk: PowerCutDisk,
        log: Path,
        *,
        seed: int,
        postgres: embedded.Postgres,
        template: str,
    ) -> None:
        super().__init__(disk, log, seed=seed)
        self.postgres = postgres
        self.template = template

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """A migrated database of this life's own."""
        name = f"life_{self.seed}"
        admin = await asyncpg.connect(self.postgres.url_of("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
            yield self.postgres.url_of(name)
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await admin.close()

    async def open_sale(self, stack: contextlib.AsyncExitStack) -> None:
        url = await stack.enter_async_context(self.database())
        self.pool = await stack.enter_async_context(db.create_pool(url, size_max=10))
        self.redis = await stack.enter_async_context(self.client())
        now = datetime.now(UTC)
        product = NewProduct(
            {"en": "A thing", "zh": "水壶"},
            [(f"THING-{n}", 1_000, "EUR") for n in range(len(QUOTAS))],
        )
        skus = await stock_products(
            self.pool, products=[product], units=max(QUOTAS), reference="power cut"
        )
        sale = await plan_sale(
            self.pool,
            name="Power cut",
            starts_at=now - HOUR,
            ends_at=now + HOUR,
            items=[
                PlannedItem(sku, quota, 1_000, MEMBER_LIMIT)
                for sku, quota in zip(skus, QUOTAS, strict=True)
            ],
        )
        await arm_sale(self.pool, self.redis, sale_id=sale.id)
        async with db.reading(self.pool) as conn:
            [bucket] = await sales.buckets(conn, sale_id=sale.id)
        self.sale_id, self.bucket, self.stamp = sale.id, bucket.number, bucket.stamp
        self.quotas = dict(zip(skus, QUOTAS, strict=True))
        stack.push_async_callback(_end, [asyncio.create_task(task) for task in self.tasks()])

    def tasks(self):
        for gate in self.gates:
            lookout = Lookout(gate)
            yield Directory(self.pool, gate, lookout).run()
            yield lookout.run()
        roles = [
            Role("order_writer", OrderWriter(self.pool, self.redis, KEYRING).step, 0.02),
            Role("fence", Fence(self.pool, self.redis).step, 0.25),
            Role("conductor", Conductor(self.pool, self.redis).step, 0.25),
            Role("auditor", Auditor(self.pool, self.redis).step, 0.25),
        ]
        yield perform(self.pool, roles, holder="power cut")

    async def trust(self) -> None:
        """That is for the fence and the directory."""

    async def drained(self) -> None:
        """Wait until every claim is written down. No drift on the way, none at the end."""
        async with asyncio.timeout(PATIENCE_S), self.client() as redis:
            while True:
                found = await audit_sale(self.pool, redis, sale_id=self.sale_id)
                assert found.drift == 0, found
                if found.backlog == 0:
                    return
                await asyncio.sleep(0.02)

    async def written(self) -> dict[Buyer, str]:
        """Each order in Postgres, and its position."""
        async with db.reading(self.pool) as conn:
            rows = await conn.fetch(
                "SELECT member_id, idempotency_key, id::text FROM orders.orders"
                " WHERE sale_id = $1 AND state = 'open' AND payment = 'unpaid'",
                self.sale_id,
            )
        assert len(rows) == len({(row[0], row[1]) for row in rows}), "a key has two orders"
        return {(row[0], row[1]): ids.parts(row[2]).position for row in rows}

    async def lost(self) -> frozenset[Buyer]:
        """What is drained already is not in the stream for long: both places count."""
        written = await self.written()
        return frozenset(buyer for buyer in await super().lost() if written.get(buyer) is None)

    async def audit(self) -> None:
        await self.drained()
        written = await self.written()
        assert written.keys() <= self.ledger.accepted.keys() | self.ledger.unknown
        assert {buyer: written.get(buyer) for buyer in self.ledger.accepted} == self.ledger.accepted


async def _end(tasks: list[asyncio.Task]) -> None:
    """Cancel until they are gone: before Python 3.12, wait_for can swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _numbers(found: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in found.items()}
