from enum import StrEnum


class HoldState(StrEnum):
    HELD = "held"
    RELEASED = "released"


class RunState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class PayoutState(StrEnum):
    PLANNED = "planned"
    SENT = "sent"
    PAID = "paid"
    FAILED = "failed"


HOLD_MOVES: dict[HoldState, frozenset[HoldState]] = {
    HoldState.HELD: frozenset({HoldState.RELEASED}),
    HoldState.RELEASED: frozenset(),
}

RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.OPEN: frozenset({RunState.CLOSED}),
    RunState.CLOSED: frozenset(),
}

# What failed is owed again, and the next run plans another payout.
PAYOUT_MOVES: dict[PayoutState, frozenset[PayoutState]] = {
    PayoutState.PLANNED: frozenset({PayoutState.SENT, PayoutState.PAID, PayoutState.FAILED}),
    PayoutState.SENT: frozenset({PayoutState.PAID, PayoutState.FAILED}),
    PayoutState.PAID: frozenset(),
    PayoutState.FAILED: frozenset(),
}
