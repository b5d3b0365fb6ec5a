from enum import StrEnum


class State(StrEnum):
    STARTED = "started"
    FAILED = "failed"
    AUTHORIZED = "authorized"
    VOIDING = "voiding"
    VOIDED = "voided"
    CAPTURED = "captured"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


class RefundState(StrEnum):
    """Of money that was kept: owed, then sent back by the provider."""

    OWED = "owed"
    PAID = "paid"


REFUND_MOVES: dict[RefundState, frozenset[RefundState]] = {
    RefundState.OWED: frozenset({RefundState.PAID}),
    RefundState.PAID: frozenset(),
}

# A declined payment may still be paid on the provider's page, and its messages may change places:
# money that came always counts, and so does money that is held.
PAYABLE = frozenset(
    {State.AUTHORIZED, State.VOIDING, State.VOIDED, State.CAPTURED, State.REFUNDING}
)
MOVES: dict[State, frozenset[State]] = {
    State.STARTED: PAYABLE | {State.FAILED},
    State.FAILED: PAYABLE,
    # Whether it is taken or let go first, its provider decides; what was taken too late goes back.
    State.AUTHORIZED: PAYABLE - {State.AUTHORIZED},
    State.VOIDING: frozenset({State.VOIDED, State.REFUNDING}),
    State.VOIDED: frozenset({State.REFUNDING}),
    State.CAPTURED: frozenset({State.REFUNDING}),
    State.REFUNDING: frozenset({State.REFUNDED}),
    State.REFUNDED: frozenset(),
}
