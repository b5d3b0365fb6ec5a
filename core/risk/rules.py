"""From what an operator writes to the numbers that the kernel runs.

Rules:  ip:600:100:block:152      subject:window_s:limit:verdict:id, separated by commas
Lists:  203.0.113.0/24, member:17, device:NAME
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network
from zlib import crc32

from hotpath import address, risk

from .model import UnreadableRule

SUBJECTS = {"ip": risk.IP, "member": risk.MEMBER, "device": risk.DEVICE}
VERDICTS = {"review": risk.REVIEW, "challenge": risk.CHALLENGE, "block": risk.BLOCK}
RULES_MAX = 16
LISTED_MAX = 100_000
WINDOW_S_MAX = 30 * 24 * 60 * 60
LIMIT_MAX = 6_000
RULE_ID_MIN, RULE_ID_MAX = 16, 2**16 - 1
MEMBER_MAX = 2**63 - 1
VERSION_MASK = 0xFF_FFFF


def compile_program(
    rules: Sequence[str],
    *,
    deny: Sequence[str],
    allow: Sequence[str],
    hash_key: Callable[[bytes], int],
) -> risk.Program:
    """Raises UnreadableRule. The version is a checksum: the same text is the same version."""
    if len(rules) > RULES_MAX or max(len(deny), len(allow)) > LISTED_MAX:
        raise UnreadableRule(f"at most {RULES_MAX} rules and {LISTED_MAX} listed")
    text = "\n".join([*rules, "deny", *deny, "allow", *allow])
    return risk.Program(
        version=crc32(text.encode()) & VERSION_MASK,
        rules=[number for rule in rules for number in parse_rule(rule)],
        deny=parse_list(deny, hash_key),
        allow=parse_list(allow, hash_key),
    )


def parse_rule(text: str) -> tuple[int, int, int, int, int]:
    parts = text.split(":")
    try:
        subject, window_s, limit, verdict, rule_id = parts
        rule = (SUBJECTS[subject], int(window_s), int(limit), VERDICTS[verdict], int(rule_id))
    except (KeyError, ValueError):
        raise UnreadableRule(f"{text!r} is not a rule like ip:600:100:block:152") from None
    if not (
        1 <= rule[1] <= WINDOW_S_MAX
        and 0 <= rule[2] <= LIMIT_MAX
        and RULE_ID_MIN <= rule[4] <= RULE_ID_MAX
    ):
        raise UnreadableRule(
            f"{text!r}: a window is 1 to {WINDOW_S_MAX} s, a limit 0 to {LIMIT_MAX}, "
            f"an id {RULE_ID_MIN} to {RULE_ID_MAX}"
        )
    return rule


def parse_list(listed: Sequence[str], hash_key: Callable[[bytes], int]) -> risk.Lists:
    ranges, members, devices = [], set(), set()
    for entry in listed:
        kind, _, name = entry.partition(":")
        try:
            if kind == "member":
                members.add(parse_member(name))
            elif kind == "device":
                devices.add(hash_key(name.encode()))
            else:
                ranges.append(address.bounds(ip_network(entry)))
        except ValueError:
            raise UnreadableRule(f"{entry!r} is no network, member:ID or device:NAME") from None
    halves = [half for part in joined(ranges) for bound in part for half in address.halves(bound)]
    return halves, sorted(members), sorted(devices)


def parse_member(text: str) -> int:
    member_id = int(text)
    if not 1 <= member_id <= MEMBER_MAX:
        raise ValueError
    return member_id


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort ranges and join those that overlap or touch."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
