from enum import StrEnum


class State(StrEnum):
    """Whether an order stands."""

    OPEN = "open"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Payment(StrEnum):
    """Whether its money is here."""

    UNPAID = "unpaid"
    PAID = "paid"
    REFUNDED = "refunded"


class Shown(StrEnum):
    """What its buyer is told: all axes in one word."""

    PENDING_PAYMENT = "pending_payment"
    PAID = "paid"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


MOVES: dict[State, frozenset[State]] = {
    State.OPEN: frozenset({State.CANCELLED}),
    State.CANCELLED: frozenset(),
    State.REJECTED: frozenset(),
}

PAYMENT_MOVES: dict[Payment, frozenset[Payment]] = {
    Payment.UNPAID: frozenset({Payment.PAID}),
    Payment.PAID: frozenset({Payment.REFUNDED}),
    Payment.REFUNDED: frozenset(),
}


# What an order is that shows a word: None where any will do.
AXES: dict[Shown, tuple[State, Payment | None]] = {
    Shown.PENDING_PAYMENT: (State.OPEN, Payment.UNPAID),
    Shown.PAID: (State.OPEN, Payment.PAID),
    Shown.CANCELLED: (State.CANCELLED, None),
    Shown.REJECTED: (State.REJECTED, None),
}


def shown(state: State, payment: Payment) -> Shown:
    return next(one for one, axes in AXES.items() if axes in {(state, payment), (state, None)})
