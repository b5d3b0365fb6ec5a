import msgspec

from core.kit.refusal import Kind, Refusal


class Origin(msgspec.Struct, frozen=True):
    """Where a claim comes from: 128 bits of address, and what the device calls itself, if it does.

    IPv4 is ::ffff:a.b.c.d, as `hotpath.address` reads it.
    """

    address: int
    device: str = ""


class RiskBlocked(Refusal):
    """Too many different attempts came from here, or a list names you."""

    kind = Kind.FORBIDDEN


class Judgement(msgspec.Struct, frozen=True):
    """`is_new` says that nobody let this member's key through before, on this host."""

    refusal: RiskBlocked | None
    is_new: bool


class UnreadableRule(Exception):
    """A rule or a list entry is malformed; the message says which, and what fits."""
