from enum import StrEnum


class State(StrEnum):
    STARTED = "started"
    FAILED = "failed"
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
# money that came always counts.
MOVES: dict[State, frozenset[State]] = {
    State.STARTED: frozenset({State.FAILED, State.CAPTURED, State.REFUNDING}),
    State.FAILED: frozenset({State.CAPTURED, State.REFUNDING}),
    State.CAPTURED: frozenset({State.REFUNDING}),
    State.REFUNDING: frozenset({State.REFUNDED}),
    State.REFUNDED: frozenset(),
}
