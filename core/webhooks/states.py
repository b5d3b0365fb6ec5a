from enum import StrEnum


class State(StrEnum):
    """Of a subscription. What happens while it is paused waits for it, unlike while disabled.

    Removed, it is there for nobody, until what became of its messages is dropped as well.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    REMOVED = "removed"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


MOVES: dict[State, frozenset[State]] = {
    State.ACTIVE: frozenset({State.PAUSED, State.DISABLED, State.REMOVED}),
    State.PAUSED: frozenset({State.ACTIVE, State.DISABLED, State.REMOVED}),
    State.DISABLED: frozenset({State.ACTIVE, State.REMOVED}),
    State.REMOVED: frozenset(),
}

# A replay begins anew whatever it meets.
DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(DeliveryState),
    DeliveryState.DELIVERED: frozenset({DeliveryState.PENDING}),
    DeliveryState.GIVEN_UP: frozenset({DeliveryState.PENDING}),
}
