"""Every kernel against its readable twin, on inputs that were right once and then were bent.

TEST_STEPS sets how many inputs each pair gets, TEST_SEED replays them.
"""

import hmac
import os
import random
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from hotpath import (
    _address_py,
    _parse_py,
    _routing_py,
    _signing_py,
    _soldout_py,
    _tokens_py,
    address,
    answers,
    batch,
    claims,
    parse,
    routing,
    signing,
    soldout,
    tokens,
)
from hotpath.claims import BucketFacts, Claim, Kind, Verdict
from hotpath.receipts import Keyring

STEPS = int(os.environ.get("TEST_STEPS", "20000"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
SECRET = b"a secret of thirty-two bytes, ok?"
NOW_S = 1_795_000_000
HALF_BENT = 0.5
BUCKET = BucketFacts(17, 3, "3.00ff", "run")
KEYRING = Keyring({1: b"k" * 16, 7: b"another key" * 9})
PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
ODD_BYTES = b'\0\t\r\n :,"{}.-_=+/\x7f\xe9aZ09'

pytestmark = pytest.mark.skipif(parse.IMPLEMENTATION != "cython", reason="not compiled")


@pytest.fixture
def dice(record_property) -> random.Random:
    print(f"TEST_SEED={SEED}")
    record_property("seed", SEED)
    return random.Random(SEED)


def bend(dice: random.Random, text: bytes) -> bytes:
    """Change a few bytes, or none: replace, insert, drop, double, cut."""
    bent = bytearray(text)
    while bent and dice.random() < HALF_BENT:
        at, odd = dice.randrange(len(bent)), dice.choice(ODD_BYTES)
        match dice.randrange(5):
            case 0:
                bent[at] = odd
            case 1:
                bent.insert(at, odd)
            case 2:
                del bent[at]
            case 3:
                bent[at:at] = bent[at : at + dice.randrange(20)]
            case 4:
                del bent[dice.randrange(len(bent)) :]
    return bytes(bent)


def number(dice: random.Random) -> int:
    """Of any length up to 63 bits and, now and then, above."""
    return dice.getrandbits(dice.randrange(1, 66))


def key(dice: random.Random) -> str:
    return "".join(chr(dice.randrange(0x21, 0x7F)) for _ in range(dice.randrange(1, 65)))


def request(dice: random.Random) -> bytes:
    body = b'{"sku_id":"%d","quantity":%d}' % (number(dice), dice.randrange(1, 1_000_002))
    lines = [
        b"Host: shop",
        b"Content-Length: %d" % len(body),
        b"content-type: application/json",
        b"Authorization: Bearer " + token(dice),
        b"Idempotency-Key: " + key(dice).encode(),
        *dice.sample(
            [
                b"X-Forwarded-For: " + hops(dice),
                b"x-device-id: phone",
                b"Accept-Language: zh",
                b"Connection: keep-alive",
                b"TE: trailers",
                b"X-Y:",
            ],
            dice.randrange(4),
        ),
    ]
    dice.shuffle(lines)
    start = b"POST /v1/sales/%d/orders HTTP/1.1\r\n" % number(dice)
    return start + b"\r\n".join([*lines, b"", body])


def token(dice: random.Random) -> bytes:
    issued_at_s, ttl_s = NOW_S - dice.randrange(-5, 100), dice.randrange(-5, 200)
    role = dice.choice(["member", "member", "member", "admin"])
    said = f'{{"sub":"{number(dice)}","role":"{role}","iat":{issued_at_s},'
    payload = signing.base64url(f'{said}"exp":{issued_at_s + ttl_s}}}'.encode())
    text = _tokens_py.HEADER + (bend(dice, payload) if dice.random() < 0.1 else payload)
    return text + b"." + signing.base64url(hmac.digest(SECRET, text, "sha256"))


def hops(dice: random.Random) -> bytes:
    def hop() -> str:
        if dice.random() < HALF_BENT:
            return str(IPv4Address(dice.getrandbits(32) >> dice.choice((0, 8)) | 10 << 24))
        return str(IPv6Address(dice.getrandbits(dice.randrange(1, 129))))

    return ", ".join(hop() for _ in range(dice.randrange(1, 20))).encode()


def test_requests_are_read_alike(dice):
    kinds = Counter()
    for _ in range(STEPS):
        data = bend(dice, request(dice))
        found = parse.read(data)
        assert found == _parse_py.read(data), data
        kinds[type(found), bool(found)] += 1
    assert len(kinds) == 3, kinds


def test_tokens_are_read_alike(dice):
    ours, twin = (kind(SECRET, clock=lambda: NOW_S) for kind in (tokens.Tokens, _tokens_py.Tokens))
    kinds = Counter()
    for _ in range(STEPS):
        text = bend(dice, token(dice))
        found = ours.member(text)
        assert found == twin.member(text), text
        kinds[found and 1] += 1
    assert len(kinds) == 3, kinds


def test_clients_are_found_alike(dice):
    ours, twin = address.Proxies(PROXIES), _address_py.Proxies(PROXIES)
    for _ in range(STEPS):
        peer = dice.choice(["10.1.2.3", "fd00::1", "203.0.113.9", ""])
        forwarded = bend(dice, hops(dice)).decode("latin-1")
        assert ours.client(peer, [forwarded]) == twin.client(peer, [forwarded]), forwarded


def test_signatures_are_alike(dice):
    for _ in range(STEPS):
        secret, text = dice.randbytes(dice.randrange(100)), dice.randbytes(dice.randrange(300))
        assert signing.Signer(secret).sign(text) == hmac.digest(secret, text, "sha256")
        assert signing.base64url(text) == _signing_py.base64url(text)


def test_batches_are_packed_alike(dice):
    for _ in range(STEPS):
        claim, epoch = a_claim(dice), dice.randrange(1, 256)
        facts, key_id = BucketFacts(1, epoch, f"{epoch}.ab", "run"), dice.randrange(1, 10**9)
        ours = batch.pack_batch(facts, [claim], key_id=key_id, backlog_max=9)
        twin = claims.pack_batch(facts, [claim], key_id=key_id, backlog_max=9)
        assert ours[2] == twin[2].encode()


def test_replies_are_read_alike(dice):
    for _ in range(STEPS):
        wanted = [a_claim(dice) for _ in range(dice.randrange(1, 4))]
        told = [answer_to(dice, claim) for claim in wanted]
        first = b"17000-%d" % number(dice) if b"+" in told else b"-"
        reply = bend(dice, b"\n".join([first, *told]))
        ours, twin = (
            reader.read_batch(reply, BUCKET, wanted, key_id=1) for reader in (batch, claims)
        )
        assert ours == twin, reply


def a_claim(dice: random.Random) -> Claim:
    sku_id, quantity = number(dice) % 2**63 or 1, dice.randrange(1, 1_000_001)
    return Claim(1, number(dice) % 2**63 or 1, key(dice), sku_id, quantity)


def answer_to(dice: random.Random, claim: Claim) -> bytes:
    repeat = f"=1700-5,{claims.encode_facts(claim, epoch=3, key_id=4)}".encode()
    return dice.choice([b"+", b"+", b"+", repeat, b"s0", b"s17", b"l", b"w", b"b", b"n", b"x"])


def test_accepted_claims_are_answered_alike(dice):
    sealer = pytest.importorskip("hotpath._sealer").Sealer(KEYRING)
    for _ in range(STEPS):
        claim = a_claim(dice)
        position = f"{dice.getrandbits(42)}-{dice.getrandbits(30)}"
        bucket, epoch = dice.getrandbits(22), dice.randrange(1, 256)
        verdict = Verdict(Kind.ACCEPTED, bucket, epoch, position, dice.choice([1, 7]))
        order_id, receipt = KEYRING.seal(claim, verdict)
        twin = answers.accepted(
            order_id=order_id,
            sale_id=claim.sale_id,
            sku_id=claim.sku_id,
            quantity=claim.quantity,
            receipt=receipt,
        )
        assert sealer.accepted(claim, verdict, b"a: b\r\n", False) == twin.text(
            b"a: b\r\n", last=False
        )


def test_members_are_routed_alike(dice):
    for _ in range(STEPS):
        member, buckets = dice.getrandbits(64), dice.randrange(1, 2**20)
        assert routing.bucket_of(member, buckets) == _routing_py.bucket_of(member, buckets)


def test_holders_are_known_alike(dice):
    for _ in range(STEPS // 1_000):
        expected = dice.randrange(1, 4_000)
        ours, twin = soldout.Holders(expected), _soldout_py.Holders(expected)
        for member in (dice.getrandbits(63) for _ in range(min(expected, 500))):
            ours.add(member)
            twin.add(member)
        members = [number(dice) % 2**63 for _ in range(500)]
        assert [member in ours for member in members] == [member in twin for member in members]
