from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import risk
from core.risk.rules import joined
from hotpath import address
from hotpath.risk import Program, Sizes, Table, rule_of

F152 = "ip:600:100:block:152"


def compiled(*rules, deny=(), allow=()) -> Program:
    return risk.compile_program(rules, deny=deny, allow=allow, hash_key=len)


def test_rules_become_flat_numbers():
    program = compiled(F152, "member:60:5:review:300")
    assert program.rules == [1, 600, 100, 3, 152, 2, 60, 5, 1, 300]
    assert program.limit_max == 100


def test_the_same_text_is_the_same_version_and_another_is_another():
    versions = {
        compiled(F152).version,
        compiled(F152).version,
        compiled("ip:600:101:block:152").version,
        compiled(F152, deny=["member:7"]).version,
        compiled(F152, allow=["member:7"]).version,
        compiled().version,
    }
    assert len(versions) == 5
    assert all(0 <= version < 2**24 for version in versions)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "ip", "ip:600:100:block", "ip:600:100:block:152:1", "cookie:600:100:block:152"),
        *(
            "ip:600:100:allow:152",
            "ip:-1:100:block:152",
            "ip:600:6001:block:152",
            "ip:x:1:block:16",
        ),
        *("ip:600:100:block:15", "ip:600:100:block:65536", "ip:2592001:1:block:16"),
    ],
)
def test_what_is_no_rule_is_refused_by_name(wrong):
    with pytest.raises(risk.UnreadableRule, match=r"rule|window"):
        compiled(wrong)


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "nobody", "member:x", "member:0", "member:", ""])
def test_what_cannot_be_listed_is_refused_by_name(wrong):
    with pytest.raises(risk.UnreadableRule, match=r"network|member"):
        compiled(deny=[wrong])


def test_no_more_rules_than_a_table_runs():
    with pytest.raises(risk.UnreadableRule, match="at most 16"):
        compiled(*[F152] * 17)


networks = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
).map(lambda drawn: ip_network(f"{drawn[0]}/{drawn[1]}", strict=False))


@given(st.lists(networks, max_size=20), st.data())
def test_a_network_denies_exactly_its_addresses(denied, data):
    listed = denied or [ip_network("10.0.0.0/8")]
    chosen = data.draw(st.sampled_from(listed))
    offset = data.draw(st.integers(-3, 3))
    wanted = int(data.draw(st.sampled_from([chosen[0], chosen[-1]]))) + offset
    wanted = min(max(wanted, 0), 2**chosen.max_prefixlen - 1)
    somebody = ip_address(wanted) if chosen.version == 4 else type(chosen[0])(wanted)
    program = compiled(deny=[str(network) for network in denied])
    sizes = Sizes(16, 32, 8)
    memory = bytearray(sizes.file_bytes)
    table = Table(memory, subjects=16, ring=32, seen=8, seed=(1, 2))
    table.obey(program.version, program.rules, deny=program.deny, allow=program.allow)
    told = table.decide(1.0, *address.halves(address.parse(str(somebody))), 7, 7, 0)
    assert (rule_of(told) == 1) == any(reaches(network, somebody) for network in denied)


def reaches(network, somebody) -> bool:
    """Whether a network holds an address, where IPv4 is a part of IPv6."""
    first, last = address.bounds(network)
    return first <= address.parse(str(somebody)) <= last


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: tuple(sorted(pair)))
    )
)
def test_joined_ranges_hold_the_same_numbers_and_stand_apart(ranges):
    found = joined(ranges)
    assert {n for a, b in found for n in range(a, b + 1)} == {
        n for a, b in ranges for n in range(a, b + 1)
    }
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
