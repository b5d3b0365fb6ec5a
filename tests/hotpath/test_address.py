from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _address_py
from hotpath.address import HOPS_MAX, MAPPED, UNKNOWN, Proxies, halves, parse

OURS = [ip_network(text) for text in ("10.0.0.0/8", "fd00::/8", "192.0.2.7/32")]


class Both(Proxies):
    """The kernel, held against its twin at every step."""

    twin = _address_py.Proxies(OURS)

    def client(self, peer, forwarded):
        found = super().client(peer, forwarded)
        assert found == self.twin.client(peer, forwarded)
        return found

    def trusts(self, address):
        found = super().trusts(address)
        assert found == self.twin.trusts(address)
        return found


PROXIES = Both(OURS)

ours = st.one_of(
    st.integers(0, 2**24 - 1).map(lambda n: str(IPv4Address((10 << 24) + n))),
    st.integers(0, 2**120 - 1).map(lambda n: str(IPv6Address((0xFD << 120) + n))),
)
anybody = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
strangers = anybody.filter(lambda text: not PROXIES.trusts(parse(text)))
entries = st.one_of(ours, anybody, st.text(max_size=60).filter(lambda text: "," not in text))


def number(text: str) -> int:
    address = ip_address(text)
    return MAPPED | int(address) if address.version == 4 else int(address)


@given(anybody)
def test_every_address_is_read_as_the_standard_library_reads_it(text):
    assert parse(text) == number(text)
    assert parse(f" {text}\t") == number(text)


@given(st.text(max_size=80))
def test_whatever_is_no_address_is_none(text):
    try:
        expected = number(text.strip(" \t"))
    except ValueError:
        expected = None
    if "%" in text:  # a scope means something to one host only
        expected = None
    assert parse(text) == expected


def test_both_spellings_of_an_address_are_one():
    assert parse("::ffff:203.0.113.9") == parse("203.0.113.9") == MAPPED | 0xCB007109
    assert halves(parse("203.0.113.9")) == (0, MAPPED | 0xCB007109)
    assert halves(parse("2001:db8::1")) == (0x20010DB8 << 32, 1)
    assert Proxies([ip_network("10.0.0.0/8")]).trusts(parse("::ffff:10.1.2.3"))


@given(strangers, st.lists(entries))
def test_nothing_that_a_stranger_forwards_counts(peer, forwarded):
    assert PROXIES.client(peer, forwarded) == number(peer)


@given(ours, st.lists(entries), strangers, st.lists(ours, max_size=HOPS_MAX - 1), st.data())
def test_the_nearest_stranger_is_the_client_whatever_it_wrote_before_itself(
    peer, forged, client, hops, data
):
    listed = [*forged, client, *hops]
    headers, at = [], 0
    while at < len(listed):
        step = data.draw(st.integers(1, len(listed) - at))
        headers.append(", ".join(listed[at : at + step]))
        at += step
    assert PROXIES.client(peer, headers) == number(client)


@given(ours, st.lists(entries), st.lists(ours, max_size=HOPS_MAX - 1))
def test_what_cannot_be_read_ends_the_walk_at_the_proxy_that_passed_it_on(peer, forged, hops):
    for junk in ("unknown", "", "203.0.113.9:80", "[2001:db8::1]", "010.1.1.1", "fe80::1%eth0"):
        told = PROXIES.client(peer, [", ".join([*forged, junk, *hops])])
        assert told == number([peer, *reversed(hops)][-1])


@given(ours, st.lists(ours, max_size=3 * HOPS_MAX))
def test_where_everybody_is_ours_the_first_within_reach_is_the_client(peer, hops):
    reached = [peer, *reversed(hops)][: HOPS_MAX + 1]
    assert PROXIES.client(peer, [",".join(hops)] if hops else []) == number(reached[-1])


@pytest.mark.parametrize("peer", ["", "/run/sluice.sock", "nobody"])
def test_a_peer_without_an_address_is_trusted_by_nobody(peer):
    assert Proxies([ip_network("::/0")]).client(peer, ["203.0.113.9"]) == UNKNOWN


def test_a_header_of_a_megabyte_is_read_from_its_end_only():
    forwarded = ["1.1.1.1," * 130_000 + "203.0.113.9"]
    assert PROXIES.client("10.0.0.1", forwarded) == number("203.0.113.9")
