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
    Payment.PAID: frozenset(),
}


def shown(state: State, payment: Payment) -> Shown:
    match state:
        case State.CANCELLED:
            return Shown.CANCELLED
        case State.REJECTED:
            return Shown.REJECTED
    return Shown.PENDING_PAYMENT if payment is Payment.UNPAID else Shown.PAID
