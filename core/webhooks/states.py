from enum import StrEnum


class State(StrEnum):
    """Of a subscription. What happens while it is paused waits for it, unlike while disabled."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


MOVES: dict[State, frozenset[State]] = {
    State.ACTIVE: frozenset({State.PAUSED, State.DISABLED}),
    State.PAUSED: frozenset({State.ACTIVE, State.DISABLED}),
    State.DISABLED: frozenset({State.ACTIVE}),
}

# A replay begins anew whatever it meets.
DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(DeliveryState),
    DeliveryState.DELIVERED: frozenset({DeliveryState.PENDING}),
    DeliveryState.GIVEN_UP: frozenset({DeliveryState.PENDING}),
}
