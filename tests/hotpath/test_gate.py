import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from hotpath import claims, scripts
from hotpath.claims import BucketFacts, Claim, Kind, SaleFacts
from hotpath.gate import Gate
from hotpath.wire import Wire
from tests.hotpath.eventually import eventually
from tests.patience import PATIENCE_S, Stopwatch


@contextlib.asynccontextmanager
async def gate_to(url, **options) -> AsyncIterator[Gate]:
    wire_options = {k: options.pop(k) for k in ("reply_timeout_s",) if k in options}
    line = Wire(url, scripts=[scripts.CLAIM.source], **wire_options)
    line.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await line.connected()
        yield Gate(line, key_id=1, **{"backlog_max": 1_000_000, "at_first": 20_000, **options})
    finally:
        await line.aclose()


def claim_of(member, *, key="k", sku=7, quantity=1, sale=1):
    return Claim(sale, member, key, sku, quantity)


class Answers:
    """Claims sent without a task, and what came of them."""

    def __init__(self, gate):
        self.gate, self.sent, self.got = gate, 0, []

    def claim(self, *wanted):
        for claim in wanted:
            self.sent += 1
            self.gate.claim(claim, self.got.append)

    async def all(self):
        await eventually(lambda: len(self.got) >= self.sent)
        assert len(self.got) == self.sent
        return self.got

    def kinds(self):
        return Counter(verdict.kind for verdict in self.got)


async def test_a_hundred_units_and_two_thousand_claims_make_a_hundred_acceptances(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url, left=100))
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 2001)))
        await answers.all()
        assert answers.kinds() == {Kind.ACCEPTED: 100, Kind.SOLD_OUT: 1900}
        assert len({v.position for v in answers.got if v.position}) == 100
        assert sale.left(redis_url) == 0


async def test_the_claims_of_one_turn_are_two_batches_and_no_third_while_both_fly(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        answers = Answers(gate)
        writes = gate._wires.counters.batches
        answers.claim(*(claim_of(member) for member in range(1, 1001)))
        await answers.all()
        assert gate.counters.batches == 2
        assert gate._wires.counters.batches - writes == 1
        answers.claim(*(claim_of(member) for member in range(1001, 3001)))
        await asyncio.sleep(0)
        assert gate._buckets[17].in_flight == 2
        assert len(gate._buckets[17].queue) == 2000 - 2 * 512
        await answers.all()
        assert answers.kinds() == {Kind.ACCEPTED: 3000}


async def test_claims_of_many_turns_gather_while_two_batches_fly(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        answers = Answers(gate)
        for member in range(1, 1001):
            answers.claim(claim_of(member))
            if member % 10 == 0:
                await asyncio.sleep(0)
        await answers.all()
        assert answers.kinds() == {Kind.ACCEPTED: 1000}
        assert gate.counters.batches < 100


async def test_a_repeat_is_answered_alike_for_ever(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url, left=1))
        first = await gate.ask(claim_of(5))
        with Redis.from_url(redis_url) as client:
            client.hset(sale.keys.sale, "state", "closed")
        gate._key_id = 2
        again = await asyncio.gather(*(gate.ask(claim_of(5)) for _ in range(10)))
        assert first.kind is Kind.ACCEPTED
        assert again == [first] * 10
        assert (await gate.ask(claim_of(5, quantity=2))).kind is Kind.KEY_REUSED
        assert (await gate.ask(claim_of(5, sku=8))).kind is Kind.KEY_REUSED
        assert (await gate.ask(claim_of(5, key="l"))).kind is Kind.NOT_OPEN
        assert gate.accepted_up_to(17) == first.position


async def test_every_refusal_has_its_verdict(redis_url, sale):
    async with gate_to(redis_url, backlog_max=2) as gate:
        gate.know(sale.open(redis_url, left=3, limit=2))
        assert (await gate.ask(claim_of(5, sale=2))).kind is Kind.NO_SUCH_SALE
        assert (await gate.ask(claim_of(5, sku=8))).kind is Kind.NO_SUCH_SKU
        assert (await gate.ask(claim_of(5, quantity=3))).kind is Kind.MEMBER_LIMIT
        assert (await gate.ask(claim_of(5, quantity=2))).kind is Kind.ACCEPTED
        sold_out = await gate.ask(claim_of(6, quantity=2))
        assert (sold_out.kind, sold_out.left) == (Kind.SOLD_OUT, 1)
        assert (await gate.ask(claim_of(6))).kind is Kind.ACCEPTED
        assert (await gate.ask(claim_of(7))).kind is Kind.BUSY
        assert gate.shed["backlog"] == 1
        assert (await gate.ask(claim_of(6))).kind is Kind.ACCEPTED


async def test_a_lost_script_cache_changes_no_answer(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        first = await gate.ask(claim_of(5))
        with Redis.from_url(redis_url) as client:
            client.script_flush()
        answers = Answers(gate)
        answers.claim(claim_of(5), *(claim_of(member) for member in range(10, 1010)))
        await answers.all()
        assert answers.got[0] == first
        assert answers.kinds() == {Kind.ACCEPTED: 1001}
        assert sale.left(redis_url) == 1_000_000 - 1001


async def test_a_kill_leaves_only_what_was_in_flight_unknown(mortal, sale):
    async with gate_to(mortal.url) as gate:
        gate.know(sale.open(mortal.url))
        mortal.process.send_signal(signal.SIGSTOP)
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 1125)))
        await asyncio.sleep(0.05)
        assert answers.got == []
        mortal.process.kill()
        await answers.all()
        assert answers.kinds() == {Kind.UNKNOWN: 1024, Kind.UNAVAILABLE: 100}
        assert (await gate.ask(claim_of(1))).kind is Kind.UNAVAILABLE


async def test_repeating_the_unknown_buys_once(mortal, sale):
    async with gate_to(mortal.url, reply_timeout_s=0.3) as gate:
        gate.know(sale.open(mortal.url))
        wanted = [claim_of(member) for member in range(1, 1125)]
        mortal.process.send_signal(signal.SIGSTOP)
        watch = Stopwatch()
        answers = Answers(gate)
        answers.claim(*wanted)
        await answers.all()
        assert watch.own_s() < 1
        assert answers.kinds() == {Kind.UNKNOWN: 1024, Kind.UNAVAILABLE: 100}
        mortal.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE_S):
            await gate._wires.connected()
        again = Answers(gate)
        again.claim(*wanted)
        await again.all()
        assert again.kinds() == {Kind.ACCEPTED: 1124}
        assert sale.left(mortal.url) == 1_000_000 - 1124


async def test_a_claim_that_waits_past_its_deadline_is_never_sent(mortal, sale):
    async with gate_to(mortal.url, deadline_s=0.2, reply_timeout_s=5) as gate:
        gate.know(sale.open(mortal.url))
        mortal.process.send_signal(signal.SIGSTOP)
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 1125)))
        await asyncio.sleep(0.4)
        assert answers.kinds() == {Kind.UNAVAILABLE: 100}
        assert gate.counters.expired == 100
        mortal.process.send_signal(signal.SIGCONT)
        await answers.all()
        assert answers.kinds() == {Kind.ACCEPTED: 1024, Kind.UNAVAILABLE: 100}
        assert sale.left(mortal.url) == 1_000_000 - 1024


async def test_a_claim_whose_deadline_passed_while_the_loop_was_blocked_is_never_sent(
    redis_url, sale
):
    async with gate_to(redis_url, deadline_s=0.1) as gate:
        gate.know(sale.open(redis_url))
        answers = Answers(gate)
        answers.claim(claim_of(1))
        time.sleep(0.2)  # noqa: ASYNC251 - on purpose
        await answers.all()
        assert answers.kinds() == {Kind.UNAVAILABLE: 1}
        assert (gate.counters.expired, gate.counters.batches) == (1, 0)
        assert gate.shed == {"deadline": 1}


async def test_the_queue_is_bounded_over_all(mortal, sale):
    async with gate_to(mortal.url, queue_max=100) as gate:
        gate.know(sale.open(mortal.url))
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 151)))
        assert answers.kinds() == {Kind.BUSY: 50}
        assert gate.shed == {"queue": 50}
        await answers.all()
        assert answers.kinds() == {Kind.BUSY: 50, Kind.ACCEPTED: 100}
        answers.claim(claim_of(1000))
        await answers.all()
        assert answers.kinds()[Kind.ACCEPTED] == 101


async def test_who_finds_no_room_waits_outside_for_a_moment_and_is_told_when_to_come(mortal, sale):
    async with gate_to(mortal.url, at_first=100, outside_s=0.2) as gate:
        gate.know(sale.open(mortal.url))
        mortal.process.send_signal(signal.SIGSTOP)
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 131)))
        await asyncio.sleep(0.1)
        assert answers.got == []
        await asyncio.sleep(0.2)
        assert answers.kinds() == {Kind.BUSY: 30}
        assert {verdict.retry_after_s for verdict in answers.got} == {1, 2}
        assert gate.shed == {"wait": 30}
        mortal.process.send_signal(signal.SIGCONT)
        await answers.all()
        assert answers.kinds() == {Kind.BUSY: 30, Kind.ACCEPTED: 100}
        assert sale.left(mortal.url) == 1_000_000 - 100


async def test_who_waits_outside_is_let_in_first_as_soon_as_there_is_room(redis_url, sale):
    async with gate_to(redis_url, at_first=10, outside_s=5) as gate:
        gate.know(sale.open(redis_url))
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 101)))
        await asyncio.sleep(0)
        late = Answers(gate)
        late.claim(claim_of(200))
        await late.all()
        assert answers.kinds() == {Kind.ACCEPTED: 100}
        assert not gate.shed
        places = [tuple(map(int, v.position.split("-"))) for v in answers.got]
        assert places == sorted(places)


async def test_a_sale_that_is_forgotten_refuses_those_outside_as_well(mortal, sale):
    async with gate_to(mortal.url, at_first=10) as gate:
        gate.know(sale.open(mortal.url))
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 51)))
        gate.know({})
        assert answers.kinds() == {Kind.UNAVAILABLE: 50}
        assert gate._queued == 0


async def test_another_process_on_the_same_port_gets_no_claim(mortal, sale, servers_folder):
    stale = []
    async with gate_to(mortal.url, stale=stale.append) as gate:
        gate.know(sale.open(mortal.url))
        assert (await gate.ask(claim_of(1))).kind is Kind.ACCEPTED
        mortal.process.kill()
        await asyncio.to_thread(mortal.process.wait)
        # It even has the whole log: still, Postgres has not admitted it.
        await asyncio.to_thread(mortal.start)
        async with asyncio.timeout(PATIENCE_S):
            await gate._wires.connected()
        assert (await gate.ask(claim_of(2))).kind is Kind.UNAVAILABLE
        assert stale == [17]
        gate.know(sale.facts(gate._wires.run_id))
        assert (await gate.ask(claim_of(2))).kind is Kind.ACCEPTED
        assert sale.left(mortal.url) == 1_000_000 - 2


async def test_another_epoch_is_refused_and_reported(redis_url, sale):
    stale = []
    async with gate_to(redis_url, stale=stale.append) as gate:
        gate.know(sale.open(redis_url))
        await gate.ask(claim_of(1))
        assert gate.accepted_up_to(17) != "0-0"
        run_id = gate._wires.run_id
        gate.know({1: SaleFacts([BucketFacts(17, 4, "4.ff", run_id)])})
        assert gate.accepted_up_to(17) == "0-0"
        assert (await gate.ask(claim_of(2))).kind is Kind.UNAVAILABLE
        assert stale == [17]


async def test_a_sale_that_is_forgotten_while_it_queues_is_refused(mortal, sale):
    async with gate_to(mortal.url) as gate:
        gate.know(sale.open(mortal.url))
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 11)))
        gate.know({})
        assert answers.kinds() == {Kind.UNAVAILABLE: 10}
        assert (await gate.ask(claim_of(1))).kind is Kind.NO_SUCH_SALE
        assert gate.accepted_up_to(17) == "0-0"


async def test_members_are_routed_and_every_bucket_has_its_own_batches(redis_url, sale):
    async with gate_to(redis_url) as gate:
        run_id = sale.open(redis_url)[1].buckets[0].run_id
        buckets = [BucketFacts(number, 3, sale.stamp, run_id) for number in (17, 18, 19)]
        with Redis.from_url(redis_url) as client:
            for number in (18, 19):
                for name in ("sale", "left", "limits"):
                    source = getattr(sale.keys, name)
                    client.copy(source, getattr(scripts.BucketKeys(number), name))
        gate.know({1: SaleFacts(buckets)})
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 301)))
        await answers.all()
        assert gate.counters.batches == 3
        assert set(Counter(v.bucket for v in answers.got)) == {17, 18, 19}
        for number in (17, 18, 19):
            here = [v.position for v in answers.got if v.bucket == number]
            assert gate.accepted_up_to(number) == max(here, key=lambda p: [*map(int, p.split("-"))])


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["OOM", "READONLY"],
)
async def test_a_server_that_cannot_write_is_unavailable_and_heals(mortal, sale, spoil, mend):
    async with gate_to(mortal.url) as gate:
        gate.know(sale.open(mortal.url))
        await gate._wires.call(*spoil)
        assert (await gate.ask(claim_of(1))).kind is Kind.UNAVAILABLE
        await gate._wires.call(*mend)
        if gate._wires.run_id is None:
            await gate._wires.connected()
        assert (await gate.ask(claim_of(1))).kind is Kind.ACCEPTED


async def test_an_error_that_explains_nothing_leaves_the_outcome_unknown(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        with Redis.from_url(redis_url) as client:
            client.delete(sale.keys.left)
            client.set(sale.keys.left, "not a hash")
        assert (await gate.ask(claim_of(1))).kind is Kind.UNKNOWN
        assert gate.counters.unknown == 1


async def test_a_flipped_byte_in_an_answer_is_never_passed_on(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        await gate.ask(claim_of(5))
        with Redis.from_url(redis_url) as client:
            answer = client.hget(sale.keys.answers, "5:k")
            client.hset(sale.keys.answers, "5:k", answer.replace(b",7,1,", b",7,3,"))
        assert (await gate.ask(claim_of(5))).kind is Kind.UNAVAILABLE
        assert gate.counters.damaged == 1


async def test_one_asker_that_raises_costs_the_others_nothing(redis_url, sale):
    reported, got = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        gate.claim(claim_of(1), got.append)
        gate.claim(claim_of(2), lambda _: 1 / 0)
        gate.claim(claim_of(3), got.append)
        await gate.ask(claim_of(4))
        assert [v.kind for v in got] == [Kind.ACCEPTED] * 2
        assert isinstance(reported[0]["exception"], ZeroDivisionError)


async def test_an_asker_that_went_away_is_no_matter(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await gate.ask(claim_of(1))
        assert (await gate.ask(claim_of(1))).kind is Kind.ACCEPTED


async def test_closing_the_wire_answers_everyone(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        answers = Answers(gate)
        answers.claim(*(claim_of(member) for member in range(1, 2001)))
        await asyncio.sleep(0)
    await answers.all()
    # As many batches as were in flight, and nobody is left in doubt.
    assert answers.kinds().keys() == {Kind.ACCEPTED, Kind.UNAVAILABLE}


async def test_a_claim_that_no_edge_should_let_through_is_a_bug(redis_url, sale):
    async with gate_to(redis_url) as gate:
        gate.know(sale.open(redis_url))
        for bad in (
            claim_of(0),
            claim_of(1, quantity=0),
            claim_of(1, quantity=claims.QUANTITY_MAX + 1),
            claim_of(1, sku=2**63),
            claim_of(1, key=""),
            claim_of(1, key="k" * 65),
            claim_of(1, key="schlüssel"),
            claim_of(1, key="a\nb"),
        ):
            with pytest.raises(AssertionError):
                await gate.ask(bad)


class Crossroads:
    """Sends each bucket its own way; `turn` may send it another."""

    def __init__(self, **wires):
        self._wires = {int(name.removeprefix("b")): wire for name, wire in wires.items()}
        self._changed = []

    def of(self, bucket):
        return self._wires[bucket]

    def watch(self, changed):
        self._changed.append(changed)
        for wire in self._wires.values():
            wire.watch(changed)

    def turn(self, bucket, wire):
        self._wires[bucket] = wire
        for changed in self._changed:
            changed()


async def test_each_bucket_goes_its_own_way_and_another_when_that_changes(redis_url, mortal, sale):
    async with gate_to(redis_url) as one, gate_to(mortal.url) as other:
        here, there = one._wires, other._wires
        ways = Crossroads(b17=here)
        gate = Gate(ways, key_id=1, backlog_max=1_000)
        gate.know(sale.open(redis_url, left=5))
        assert (await gate.ask(claim_of(1))).kind is Kind.ACCEPTED
        assert gate.process_of(17) == here.run_id
        ways.turn(17, there)
        assert (await gate.ask(claim_of(2))).kind is Kind.UNAVAILABLE
        gate.know(sale.open(mortal.url, left=5))
        assert (await gate.ask(claim_of(2))).kind is Kind.ACCEPTED
        assert (sale.left(redis_url), sale.left(mortal.url)) == (4, 4)
