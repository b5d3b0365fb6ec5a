from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Whether an order stands."""

    OPEN = "open"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Payment(StrEnum):
    """Whether its money is here, or at least held for it."""

    UNPAID = "unpaid"
    AUTHORIZED = "authorized"
    PAID = "paid"
    REFUNDED = "refunded"


class Fulfilment(StrEnum):
    """How much of it has left, and whether all of it is there."""

    UNSHIPPED = "unshipped"
    PART_SHIPPED = "part_shipped"
    SHIPPED = "shipped"
    DELIVERED = "delivered"


class Shown(StrEnum):
    """What its buyer is told: all axes in one word."""

    PENDING_PAYMENT = "pending_payment"
    PAID = "paid"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    AFTER_SALE = "after_sale"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


MOVES: dict[State, frozenset[State]] = {
    State.OPEN: frozenset({State.CANCELLED}),
    State.CANCELLED: frozenset(),
    State.REJECTED: frozenset(),
}

PAYMENT_MOVES: dict[Payment, frozenset[Payment]] = {
    Payment.UNPAID: frozenset({Payment.AUTHORIZED, Payment.PAID}),
    # What is let go was never here.
    Payment.AUTHORIZED: frozenset({Payment.UNPAID, Payment.PAID}),
    Payment.PAID: frozenset({Payment.REFUNDED}),
    Payment.REFUNDED: frozenset(),
}


FULFILMENT_MOVES: dict[Fulfilment, frozenset[Fulfilment]] = {
    Fulfilment.UNSHIPPED: frozenset({Fulfilment.PART_SHIPPED, Fulfilment.SHIPPED}),
    Fulfilment.PART_SHIPPED: frozenset({Fulfilment.SHIPPED}),
    Fulfilment.SHIPPED: frozenset({Fulfilment.DELIVERED}),
    Fulfilment.DELIVERED: frozenset(),
}


class Axes(NamedTuple):
    """What an order is that shows a word: None where any will do."""

    state: State
    payment: frozenset[Payment] | None = None
    fulfilment: frozenset[Fulfilment] | None = None
    has_case: bool | None = None


UNPAID = frozenset({Payment.UNPAID})
PAID = frozenset({Payment.PAID})

# Whose money is held has paid, as far as the buyer is concerned: there is nothing left to do.
# It is on its way from its first parcel on, and completed with its last one's arrival; while
# something about it has to be put right, that is what it shows.
AXES: dict[Shown, Axes] = {
    Shown.PENDING_PAYMENT: Axes(State.OPEN, UNPAID),
    Shown.AFTER_SALE: Axes(State.OPEN, PAID, has_case=True),
    Shown.PAID: Axes(
        State.OPEN,
        PAID | {Payment.AUTHORIZED},
        frozenset({Fulfilment.UNSHIPPED}),
        has_case=False,
    ),
    Shown.SHIPPED: Axes(
        State.OPEN,
        PAID,
        frozenset({Fulfilment.PART_SHIPPED, Fulfilment.SHIPPED}),
        has_case=False,
    ),
    Shown.COMPLETED: Axes(State.OPEN, PAID, frozenset({Fulfilment.DELIVERED}), has_case=False),
    Shown.CANCELLED: Axes(State.CANCELLED),
    Shown.REJECTED: Axes(State.REJECTED),
}


def shown(state: State, payment: Payment, fulfilment: Fulfilment, open_cases: int) -> Shown:
    return next(
        word
        for word, axes in AXES.items()
        if axes.state is state
        and (axes.payment is None or payment in axes.payment)
        and (axes.fulfilment is None or fulfilment in axes.fulfilment)
        and axes.has_case in {None, open_cases > 0}
    )
