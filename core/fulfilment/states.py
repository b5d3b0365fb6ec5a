from enum import StrEnum


class State(StrEnum):
    """How far a consignment is: its place is known, its units are picked, it left, it is there."""

    PLANNED = "planned"
    ALLOCATED = "allocated"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


MOVES: dict[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.ALLOCATED, State.CANCELLED}),
    State.ALLOCATED: frozenset({State.SHIPPED, State.CANCELLED}),
    State.SHIPPED: frozenset({State.DELIVERED}),
    State.DELIVERED: frozenset(),
    State.CANCELLED: frozenset(),
}

# Those that have not left.
INSIDE = frozenset({State.PLANNED, State.ALLOCATED})
