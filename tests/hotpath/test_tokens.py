"""Our reading of a token against pyjwt's, which the rest of the API uses."""

import hmac
import json
import string
import time

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jwt.utils import base64url_encode

from hotpath import _tokens_py, tokens
from hotpath.tokens import HEADER, Tokens

SECRET = b"a secret of thirty-two bytes, ok?"
OTHER = b"another secret of 32 bytes, yes?!"
NOW_S = int(time.time())
CLAIMS = {"sub": "7", "role": "member", "iat": NOW_S - 10, "exp": NOW_S + 3_600}


def signed(header: bytes, payload: bytes) -> bytes:
    text = base64url_encode(header) + b"." + base64url_encode(payload)
    return text + b"." + base64url_encode(hmac.digest(SECRET, text, "sha256"))


def by_pyjwt(token: bytes) -> int:
    """As `api.auth` does for a member: the id, or 0."""
    try:
        claims = jwt.decode(
            token, SECRET, algorithms=["HS256"], options={"require": ["sub", "role", "iat", "exp"]}
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return 0
    return int(claims["sub"]) if claims["role"] == "member" else -1


def assert_alike(token: bytes) -> int | None:
    ours = Tokens(SECRET, clock=time.time).member(token)
    assert ours is None or ours == by_pyjwt(token), token
    assert _tokens_py.Tokens(SECRET, clock=time.time).member(token) == ours
    return ours


GOOD = jwt.encode(CLAIMS, SECRET).encode()


def test_our_own_tokens_are_read():
    assert assert_alike(GOOD) == 7
    assert GOOD.startswith(HEADER)


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode(CLAIMS, OTHER).encode(),
        jwt.encode(CLAIMS | {"exp": NOW_S - 1}, SECRET).encode(),
        jwt.encode(CLAIMS | {"iat": NOW_S + 3_000}, SECRET).encode(),
        GOOD[:-1],
        GOOD + b"A",
        HEADER + b".",
        HEADER + b"..",
    ],
)
def test_what_is_surely_no_good_is_refused_here(token):
    assert assert_alike(token) == 0


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode(CLAIMS, None, algorithm="none").encode(),
        jwt.encode(CLAIMS, SECRET * 2, algorithm="HS512").encode(),
        jwt.encode(CLAIMS | {"role": "admin"}, SECRET).encode(),
        jwt.encode(CLAIMS | {"role": ["member"]}, SECRET).encode(),
        jwt.encode(CLAIMS | {"aud": "x"}, SECRET).encode(),
        jwt.encode(CLAIMS | {"nbf": NOW_S + 3_000}, SECRET).encode(),
        jwt.encode(CLAIMS | {"sub": "07"}, SECRET).encode(),
        jwt.encode(CLAIMS | {"sub": str(2**63)}, SECRET).encode(),
        jwt.encode(CLAIMS, SECRET, headers={"typ": "at+jwt"}).encode(),
        jwt.encode(CLAIMS, SECRET, headers={"kid": "1"}).encode(),
        jwt.encode(CLAIMS, SECRET, headers={"crit": ["x"], "x": 1}).encode(),
        signed(b'{"alg":"none","typ":"JWT"}', json.dumps(CLAIMS).encode()),
        signed(b'{"typ":"JWT","alg":"HS256"}', json.dumps(CLAIMS).encode()),
        signed(b'{"alg":"HS256","typ":"JWT"}', json.dumps(CLAIMS).encode()),
        GOOD + b"=",
        b"",
        b"..",
    ],
)
def test_what_is_not_ours_is_left_to_others(token):
    assert assert_alike(token) is None


@settings(max_examples=2_000)
@given(
    st.integers(0, len(GOOD) - 1),
    st.sampled_from((string.ascii_letters + string.digits + "-_=.+/! ").encode()),
    st.sampled_from(["replace", "insert", "delete"]),
)
def test_a_token_with_one_character_changed_gets_no_better(at, character, change):
    kept = at + (change != "insert")
    token = GOOD[:at] + (b"" if change == "delete" else bytes([character])) + GOOD[kept:]
    assert assert_alike(token) in ({7} if token == GOOD else {0, None})


@settings(max_examples=1_000)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "sub": st.one_of(st.integers(), st.text(max_size=4), st.integers(0, 2**64).map(str)),
            "role": st.sampled_from(["member", "admin", "", None, 1]),
            "iat": st.one_of(st.integers(-(2**70), 2**70), st.floats(0, 2**33), st.just("1")),
            "exp": st.one_of(st.integers(NOW_S, 2**70), st.floats(0, 2**33), st.none()),
            "nbf": st.integers(0, 2**33),
        },
    )
)
@example({"iat": 0})
@example({"iat": -1})
def test_whatever_we_sign_is_read_as_pyjwt_reads_it(change):
    payload = json.dumps(CLAIMS | change, separators=(",", ":")).encode()
    assert_alike(signed(b'{"alg":"HS256","typ":"JWT"}', payload))


@pytest.mark.parametrize("kind", [_tokens_py.Tokens, tokens.Tokens])
def test_a_token_counts_from_its_first_second_and_to_its_last(kind):
    now = [NOW_S]
    found = kind(SECRET, clock=lambda: now[0])
    for seconds, member in ((0, 7), (3_600, 0), (3_599.9, 7), (-10, 7), (-10.1, 0)):
        now[0] = NOW_S + seconds
        assert found.member(GOOD) == member
