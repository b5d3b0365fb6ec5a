"""Drive the scripts and their model side by side on real servers; they must agree."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from hotpath import claims, loading, scripts
from hotpath.claims import BucketFacts, Claim
from hotpath.entries import Entry, claims_of
from tests.hotpath.model import Model

STEPS = int(os.environ.get("TEST_STEPS", "2000"))
STEPS_PER_EXAMPLE = 20
EXAMPLES = max(1, STEPS // 2 // STEPS_PER_EXAMPLE)

KEYS = scripts.BucketKeys(17)
STAMP = "3.00112233445566ff"
BACKLOG_MAX = 4
FAR_MS = 2**42

wanted = st.tuples(
    st.integers(1, 3), st.sampled_from(["a", "b:1", "c,2"]), st.integers(1, 5), st.integers(1, 4)
)
moved = st.tuples(st.integers(1, 5), st.integers(1, 2), st.integers(1, 6))
step = st.one_of(
    st.tuples(st.just("claim"), st.lists(wanted, min_size=1, max_size=6)),
    st.tuples(st.just("claim"), st.lists(wanted, min_size=1, max_size=6)),
    st.tuples(st.just("release"), st.integers(0, BACKLOG_MAX)),
    st.tuples(st.just("debit"), moved),
    st.tuples(st.just("credit"), moved),
    st.tuples(st.just("write down"), st.floats(0, 1)),
    st.tuples(st.just("other epoch"), wanted),
    st.tuples(st.just("state"), st.sampled_from(["open", "open", "paused", "closed"])),
    st.tuples(st.just("window"), st.sampled_from(["now", "now", "past", "future", "broken"])),
)
WINDOWS = {
    "now": (0, FAR_MS),
    "past": (0, 1),
    "future": (FAR_MS, FAR_MS + 1),
    "broken": (0, "soon"),
}


class Pair:
    """The real bucket and the model of it."""

    def __init__(self, redis, left):
        self.redis, self.model = redis, Model(left, {1: 3, 2: 100, 4: 5}, BACKLOG_MAX)
        self.state, self.window = "open", "now"
        redis.flushall()
        redis.hset(KEYS.sale, mapping={"stamp": STAMP})
        redis.hset(KEYS.left, mapping={sku: "1.5" if n is None else n for sku, n in left.items()})
        redis.hset(KEYS.limits, mapping=self.model.limits)
        self.look()

    def look(self):
        opens, closes = WINDOWS[self.window]
        facts = {"state": self.state, "opens_at_ms": opens, "closes_at_ms": closes}
        self.redis.hset(KEYS.sale, mapping=facts)
        self.model.open = self.state == "open" and self.window == "now"
        self.model.closed = self.state == "closed"

    def claim(self, batch):
        first, *got = eval_claims(self.redis, batch)
        positions = [claim.position for claim in in_stream(self.redis)]
        wanted = [self.model.claim(*claim) for claim in batch]
        accepted = [positions[fact] for kind, fact in wanted if kind == "+"]
        assert first == (accepted[0] if accepted else "-")
        for (kind, fact), answer in zip(wanted, got, strict=True):
            assert answer[:1] == kind
            if kind == "=":
                assert answer[1:].split(",")[0] == positions[fact]
            elif kind == "s":
                assert int(answer[1:]) == fact

    def write_down(self, share):
        """The order writer tells of claims that it has written down; an old one changes nothing."""
        claims = round(share * len(self.model.stream))
        eval_drain(self.redis, "0-0", 1, claims)
        self.model.written = max(self.model.written, claims)

    def release(self, index):
        if index >= len(self.model.stream):
            return
        member, _, sku, quantity = self.model.stream[index]
        order = f"{index:08x}-0000"
        got = eval_release(self.redis, order, sku, member, quantity)
        assert got == self.model.release(order, member, sku, quantity)

    def debit(self, transfer, sku, units):
        got = eval_transfer(self.redis, scripts.DEBIT, transfer, sku, units)
        assert got == self.model.debit(transfer, sku, units)

    def credit(self, transfer, sku, units):
        got = eval_transfer(self.redis, scripts.CREDIT, transfer, sku, units)
        assert got == self.model.credit(transfer, sku, units)

    def agree(self):
        counts = self.redis.hgetall(KEYS.left)
        left = {int(k): None if v == b"1.5" else int(v) for k, v in counts.items()}
        assert left == self.model.left
        held = {k.decode(): int(v) for k, v in self.redis.hgetall(KEYS.members).items()}
        assert {k: n for k, n in held.items() if n} == {
            f"{sku}:{member}": n for (sku, member), n in self.model.held.items() if n
        }
        records = [claims.decode_record(claim.record) for claim in in_stream(self.redis)]
        assert [(r.member_id, r.key, r.sku_id, r.quantity) for r in records] == self.model.stream
        back = {int(k): int(v) for k, v in self.redis.hgetall(KEYS.back).items()}
        assert back == {sku: n for sku, n in self.model.back.items() if n}
        assert eval_look(self.redis, [1, 2, 3]) == (STAMP, *self.model.look([1, 2, 3]))
        net = {int(k): int(v) for k, v in self.redis.hgetall(KEYS.transferred).items() if int(v)}
        assert net == {sku: n for sku, n in self.model.transferred.items() if n}
        done = {int(k): int(v) for k, v in self.redis.hgetall(KEYS.transfers).items()}
        assert done == self.model.transfers
        counts = self.redis.hmget(KEYS.sale, "accepted", "written")
        assert [int(n or 0) for n in counts] == [len(self.model.stream), self.model.written]
        positions = [claim.position for claim in in_stream(self.redis)]
        assert positions == sorted(set(positions), key=place)
        if positions:
            assert (
                self.redis.xinfo_stream(KEYS.claims)["last-generated-id"].decode() == positions[-1]
            )


def eval_claims(redis, batch, *, stamp=STAMP, backlog_max=BACKLOG_MAX):
    bucket = BucketFacts(17, int(stamp.split(".")[0]), stamp, "run")
    wanted = [Claim(1, *claim) for claim in batch]
    arguments = claims.pack_batch(bucket, wanted, key_id=1, backlog_max=backlog_max)
    return eval_arguments(redis, *arguments)


def eval_arguments(redis, *arguments):
    reply = redis.eval(scripts.CLAIM.source, 6, *KEYS.for_claim(), *arguments)
    return reply.decode().split("\n")


def eval_drain(redis, after, claims_max, written=""):
    flat = redis.eval(
        loading.DRAIN.source, 2, KEYS.sale, KEYS.claims, STAMP, after, claims_max, written
    )
    return [
        Entry(position.decode(), records, count)
        for position, records, count in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]


def in_stream(redis):
    """Every claim of the stream with its position."""
    return [
        claim
        for position, entry in redis.xrange(KEYS.claims)
        for claim in claims_of(Entry(position.decode(), entry[b"c"], entry[b"n"]))
    ]


def place(position):
    return tuple(map(int, position.split("-")))


def eval_look(redis, skus):
    stamp, is_open, freed, answered, transfers, flat = redis.eval(
        scripts.LOOK.source, 5, *KEYS.for_look(), *skus
    )
    numbers = [None if count is None else int(count) for count in flat]
    shelves = list(zip(numbers[::2], numbers[1::2], strict=True))
    return stamp.decode(), bool(is_open), freed, answered, transfers, shelves


def eval_release(redis, order, sku, member, quantity, *, stamp=STAMP):
    arguments = (stamp, order, sku, member, quantity)
    return redis.eval(scripts.RELEASE.source, 5, *KEYS.for_release(), *arguments)


def eval_transfer(redis, script, transfer, sku, units, *, stamp=STAMP):
    return redis.eval(script.source, 4, *KEYS.for_debit(), stamp, transfer, sku, units)


@settings(max_examples=EXAMPLES, deadline=None, print_blob=True)
@given(
    left=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    steps=st.lists(step, min_size=STEPS_PER_EXAMPLE // 2, max_size=STEPS_PER_EXAMPLE * 3 // 2),
)
def test_the_scripts_agree_with_their_model(both_servers, left, steps):
    pair = Pair(both_servers, {1: left[0], 2: left[1], 4: None})
    for verb, fact in steps:
        if verb == "claim":
            pair.claim(fact)
        elif verb == "release":
            pair.release(fact)
        elif verb in {"debit", "credit"}:
            getattr(pair, verb)(*fact)
        elif verb == "write down":
            pair.write_down(fact)
        elif verb == "other epoch":
            with pytest.raises(ResponseError, match=r"^EPOCH"):
                eval_claims(both_servers, [fact], stamp="4.00112233445566ff")
            assert eval_release(both_servers, "0-0", 1, 1, 1, stamp="3.other") == -1
            for script in (scripts.DEBIT, scripts.CREDIT):
                assert eval_transfer(both_servers, script, 9, 1, 1, stamp="3.other") == -1
        else:
            setattr(pair, verb, fact)
            pair.look()
        pair.agree()


GOOD = {"version": "2", "epoch": "3", "member": "42", "sku": "7", "quantity": "1"}
GOOD |= {"key_id": "1", "crc": "00000000", "key": "key"}


def record_of(**changes):
    return ",".join((GOOD | changes).values())


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(("version", bad) for bad in ("", "1", "3", "02")),
        *(("epoch", bad) for bad in ("", "4", "03", "%d+")),
        *(("member", bad) for bad in ("", "0", "-1", "01", "1e3", "x", "9" * 20, "4 2")),
        *(("sku", bad) for bad in ("", "0", "-7", "7.0", "0x7", "9" * 20, "7,7")),
        *(("quantity", bad) for bad in ("", "0", "-5", "1000001", "1.0", "1e1", " 1", "9" * 16)),
        *(("key_id", bad) for bad in ("", "0", "01", "x", "9" * 10)),
        *(("crc", bad) for bad in ("", "0000000", "0000000g", "000000000", "0000000F")),
        *(("key", bad) for bad in ("", "k" * 65, "a\nb", "\x7f", "schlüssel", "\x00")),
    ],
)
def test_a_malformed_claim_stops_its_whole_batch_before_any_write(both_servers, field, bad):
    pair = Pair(both_servers, {7: 5})
    eval_arguments(both_servers, STAMP, 0, record_of())
    with pytest.raises(ResponseError, match=r"^CLAIM"):
        eval_arguments(both_servers, STAMP, BACKLOG_MAX, record_of(), record_of(**{field: bad}))
    pair.agree()


@pytest.mark.parametrize("backlog_max", ["", "-1", "many", "1.5"])
def test_a_malformed_bound_stops_the_batch(both_servers, backlog_max):
    Pair(both_servers, {7: 5})
    with pytest.raises(ResponseError, match=r"^CLAIM"):
        eval_arguments(both_servers, STAMP, backlog_max, record_of())


@pytest.mark.parametrize("claims", [0, 2001])
def test_a_batch_of_none_or_of_too_many_stops_before_any_write(both_servers, claims):
    pair = Pair(both_servers, {7: 5})
    with pytest.raises(ResponseError, match=r"^CLAIM"):
        eval_arguments(both_servers, STAMP, 9, *[record_of()] * claims)
    pair.agree()


def test_a_batch_as_big_as_may_be_is_one_entry(both_servers):
    Pair(both_servers, {2: 5})
    both_servers.hset(KEYS.left, "2", 3_000)
    batch = [(member, "k" * 64, 2, 2) for member in range(1, 2001)]
    first, *answers = eval_claims(both_servers, batch, backlog_max=10_000)
    assert answers == ["+"] * 1500 + ["s0"] * 500
    assert both_servers.xlen(KEYS.claims) == 1
    found = in_stream(both_servers)
    assert (len(found), found[0].position) == (1500, first)
    again = eval_claims(both_servers, batch[:1500], backlog_max=0)
    assert [answer.split(",")[0] for answer in again[1:]] == [f"={c.position}" for c in found]


@pytest.mark.parametrize("damage", ["1.5", "", "ten", "-3", "007", "1" * 16, "0x10", "nan"])
def test_a_damaged_count_costs_its_own_claim_only(both_servers, damage):
    pair = Pair(both_servers, {1: 5, 2: 5})
    both_servers.hset(KEYS.left, "2", damage)
    answers = eval_claims(both_servers, [(1, "a", 1, 1), (1, "b", 2, 1), (1, "c", 1, 1)])
    assert answers[1:] == ["+", "x", "+"]
    assert both_servers.hget(KEYS.left, "2") == damage.encode()
    assert len(in_stream(both_servers)) == 2
    del pair


@pytest.mark.parametrize("name", ["limits", "members"])
def test_a_damaged_limit_or_holding_costs_its_own_claim_only(both_servers, name):
    Pair(both_servers, {1: 5, 2: 5})
    both_servers.hset(getattr(KEYS, name), "2" if name == "limits" else "2:1", "many")
    answers = eval_claims(both_servers, [(1, "b", 2, 1), (1, "c", 1, 1)])
    assert answers[1:] == ["x", "+"]


@pytest.mark.parametrize("name", ["accepted", "written"])
def test_a_damaged_count_of_claims_costs_no_repeat(both_servers, name):
    Pair(both_servers, {1: 5})
    first, _ = eval_claims(both_servers, [(1, "a", 1, 1)])
    both_servers.hset(KEYS.sale, name, "many")
    answers = eval_claims(both_servers, [(1, "a", 1, 1), (1, "b", 1, 1)])
    assert answers[1].startswith(f"={first},")
    assert answers[2] == "x"
    assert len(in_stream(both_servers)) == 1


def test_a_damaged_answer_is_told_from_every_other_and_from_the_line_after_it(both_servers):
    Pair(both_servers, {1: 5})
    both_servers.hset(KEYS.answers, mapping={"1:a": "+\n+", "1:b": "w", "1:c": ""})
    answers = eval_claims(both_servers, [(1, key, 1, 1) for key in "abcd"])
    assert answers[1:] == ["x", "=w", "=", "+"]


@pytest.mark.parametrize("name", ["left", "limits", "members", "answers", "claims"])
def test_a_key_of_a_wrong_type_stops_the_batch_before_any_write(both_servers, name):
    Pair(both_servers, {1: 5})
    both_servers.delete(getattr(KEYS, name))
    both_servers.set(getattr(KEYS, name), "not what it was")
    before = {key: both_servers.dump(key) for key in KEYS.all()}
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        eval_claims(both_servers, [(1, "a", 1, 1), (1, "b", 1, 1)])
    assert {key: both_servers.dump(key) for key in KEYS.all()} == before


def test_a_bucket_that_is_not_there_has_no_epoch(both_servers):
    both_servers.flushall()
    with pytest.raises(ResponseError, match=r"^EPOCH"):
        eval_claims(both_servers, [(1, "a", 1, 1)])
    assert eval_release(both_servers, "0-0", 1, 1, 1) == -1
    assert both_servers.dbsize() == 0


def test_a_release_that_cannot_be_right_changes_nothing(both_servers):
    pair = Pair(both_servers, {1: 5})
    with pytest.raises(ResponseError, match=r"^DAMAGED"):
        eval_release(both_servers, "0-0", 1, 1, 1)
    with pytest.raises(ResponseError, match=r"^DAMAGED"):
        eval_release(both_servers, "0-0", 9, 1, 1)
    for bad in ("0", "-1", "1.5", "1000001", "x"):
        with pytest.raises(ResponseError, match=r"^RELEASE"):
            eval_release(both_servers, "0-0", 1, 1, bad)
    pair.agree()


def test_a_quantity_of_a_million_is_exact(both_servers):
    Pair(both_servers, {2: 5})
    both_servers.hset(KEYS.left, "2", 999_999_999_999_999)
    both_servers.hset(KEYS.limits, "2", 999_999_999_999_999)
    answers = eval_claims(both_servers, [(1, "a", 2, 1_000_000), (2, "b", 2, 999_999)])
    assert answers[1:] == ["+", "+"]
    assert int(both_servers.hget(KEYS.left, "2")) == 999_999_998_000_000


@pytest.mark.parametrize("script", [scripts.DEBIT, scripts.CREDIT])
def test_a_transfer_that_cannot_be_right_changes_nothing(both_servers, script):
    pair = Pair(both_servers, {1: 5, 2: 5})
    for bad in ("0", "-1", "1.5", "x", "1" * 14):
        with pytest.raises(ResponseError, match=r"^TRANSFER"):
            eval_transfer(both_servers, script, 1, 1, bad)
    for transfer, sku in (("x", 1), (1, "x"), ("-1", 1), (1, "1.5")):
        with pytest.raises(ResponseError, match=r"^TRANSFER"):
            eval_transfer(both_servers, script, transfer, sku, 1)
    with pytest.raises(ResponseError, match=r"^DAMAGED"):
        eval_transfer(both_servers, script, 1, 9, 1)
    both_servers.hset(KEYS.transferred, "2", "many")
    with pytest.raises(ResponseError, match=r"^DAMAGED"):
        eval_transfer(both_servers, script, 1, 2, 1)
    both_servers.delete(KEYS.transferred)
    pair.agree()
