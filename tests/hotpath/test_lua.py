"""Drive the scripts and their model side by side on real servers; they must agree."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from hotpath import claims, scripts
from hotpath.claims import Claim
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
        got = eval_claims(self.redis, batch)
        positions = [p.decode() for p, _ in self.redis.xrange(KEYS.claims)]
        for (member, key, sku, quantity), answer in zip(batch, got, strict=True):
            kind, fact = self.model.claim(member, key, sku, quantity)
            assert answer[:1].decode() == kind
            if kind == "+":
                assert answer[1:].decode() == positions[fact]
            elif kind == "=":
                assert answer[1:].decode().split(",")[0] == positions[fact]
            elif kind == "s":
                assert int(answer[1:]) == fact

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
        records = [claims.decode_record(e[b"c"]) for _, e in self.redis.xrange(KEYS.claims)]
        assert [(r.member_id, r.key, r.sku_id, r.quantity) for r in records] == self.model.stream
        back = {int(k): int(v) for k, v in self.redis.hgetall(KEYS.back).items()}
        assert back == {sku: n for sku, n in self.model.back.items() if n}
        assert eval_look(self.redis, [1, 2, 3]) == (STAMP, *self.model.look([1, 2, 3]))
        net = {int(k): int(v) for k, v in self.redis.hgetall(KEYS.transferred).items() if int(v)}
        assert net == {sku: n for sku, n in self.model.transferred.items() if n}
        done = {int(k): int(v) for k, v in self.redis.hgetall(KEYS.transfers).items()}
        assert done == self.model.transfers


def eval_claims(redis, batch, *, stamp=STAMP, backlog_max=BACKLOG_MAX):
    arguments = [stamp, backlog_max]
    for member, key, sku, quantity in batch:
        claim = Claim(1, member, key, sku, quantity)
        facts = claims.encode_facts(claim, epoch=int(stamp.split(".")[0]), key_id=1)
        arguments += [member, key, sku, quantity, facts]
    return redis.eval(scripts.CLAIM.source, 6, *KEYS.for_claim(), *arguments)


def eval_look(redis, skus):
    stamp, is_open, freed, answered, flat = redis.eval(
        scripts.LOOK.source, 4, *KEYS.for_look(), *skus
    )
    numbers = [None if count is None else int(count) for count in flat]
    shelves = list(zip(numbers[::2], numbers[1::2], strict=True))
    return stamp.decode(), bool(is_open), freed, answered, shelves


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


GOOD = ["42", "key", "7", "1", "1,3,42,7,1,1,00000000"]


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        *((0, bad) for bad in ("", "0", "-1", "01", "1e3", "x", "9" * 20, "4 2")),
        *((1, bad) for bad in ("", "k" * 65, "a\nb", "\x7f", "schlüssel", "\x00")),
        *((2, bad) for bad in ("", "0", "-7", "7.0", "0x7", "9" * 20)),
        *((3, bad) for bad in ("", "0", "-5", "1000001", "1.0", "1e1", " 1", "9007199254740993")),
        *((4, f"1,3,{bad},1,00000000") for bad in ("42,7,2", "43,7,1", "42,8,1", "42,7,1,1")),
        *((4, bad) for bad in ("", "1,4,42,7,1,1,00000000", "2,3,42,7,1,1,00000000")),
        *((4, f"1,3,42,7,1,1,{bad}") for bad in ("0000000", "0000000g", "00000000,")),
    ],
)
def test_a_malformed_claim_stops_its_whole_batch_before_any_write(both_servers, argument, bad):
    pair = Pair(both_servers, {7: 5})
    malformed = GOOD.copy()
    malformed[argument] = bad
    with pytest.raises(ResponseError, match=r"^CLAIM"):
        both_servers.eval(
            scripts.CLAIM.source, 6, *KEYS.for_claim(), STAMP, BACKLOG_MAX, *GOOD, *malformed
        )
    pair.agree()


@pytest.mark.parametrize("backlog_max", ["", "-1", "many", "1.5"])
def test_a_malformed_bound_stops_the_batch(both_servers, backlog_max):
    Pair(both_servers, {7: 5})
    with pytest.raises(ResponseError, match=r"^CLAIM"):
        both_servers.eval(scripts.CLAIM.source, 6, *KEYS.for_claim(), STAMP, backlog_max, *GOOD)


def test_half_a_claim_stops_the_batch(both_servers):
    pair = Pair(both_servers, {7: 5})
    with pytest.raises(ResponseError, match=r"^CLAIM"):
        both_servers.eval(scripts.CLAIM.source, 6, *KEYS.for_claim(), STAMP, 9, *GOOD, *GOOD[:3])
    pair.agree()


@pytest.mark.parametrize("damage", ["1.5", "", "ten", "-3", "007", "1" * 16, "0x10", "nan"])
def test_a_damaged_count_costs_its_own_claim_only(both_servers, damage):
    pair = Pair(both_servers, {1: 5, 2: 5})
    both_servers.hset(KEYS.left, "2", damage)
    answers = eval_claims(both_servers, [(1, "a", 1, 1), (1, "b", 2, 1), (1, "c", 1, 1)])
    assert [answer[:1] for answer in answers] == [b"+", b"x", b"+"]
    assert both_servers.hget(KEYS.left, "2") == damage.encode()
    assert both_servers.xlen(KEYS.claims) == 2
    del pair


@pytest.mark.parametrize("name", ["limits", "members"])
def test_a_damaged_limit_or_holding_costs_its_own_claim_only(both_servers, name):
    Pair(both_servers, {1: 5, 2: 5})
    both_servers.hset(getattr(KEYS, name), "2" if name == "limits" else "2:1", "many")
    answers = eval_claims(both_servers, [(1, "b", 2, 1), (1, "c", 1, 1)])
    assert [answer[:1] for answer in answers] == [b"x", b"+"]


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
    assert [answer[:1] for answer in answers] == [b"+", b"+"]
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
