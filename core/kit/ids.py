"""Ids as they come from outside: decimal strings that fit a bigint, or nothing."""

import re

ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
ID_MAX = 2**63 - 1


def parse(text: str) -> int | None:
    """The number an id stands for; None for whatever cannot be one, which then names nothing."""
    if not ID.fullmatch(text):
        return None
    number = int(text)
    return number if number <= ID_MAX else None
