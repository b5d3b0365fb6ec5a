from enum import StrEnum


class State(StrEnum):
    PENDING_PAYMENT = "pending_payment"
    PAID = "paid"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    AFTER_SALE = "after_sale"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


MOVES: dict[State, frozenset[State]] = {
    State.PENDING_PAYMENT: frozenset({State.PAID, State.CANCELLED}),
    State.PAID: frozenset({State.SHIPPED, State.AFTER_SALE}),
    State.SHIPPED: frozenset({State.COMPLETED, State.AFTER_SALE}),
    State.COMPLETED: frozenset({State.AFTER_SALE}),
    State.AFTER_SALE: frozenset({State.COMPLETED}),
    State.CANCELLED: frozenset(),
    State.REJECTED: frozenset(),
}
