from enum import StrEnum


class State(StrEnum):
    PLANNED = "planned"
    ARMED = "armed"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    RETIRED = "retired"


MOVES: dict[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.ARMED}),
    State.ARMED: frozenset({State.OPEN, State.PAUSED, State.CLOSED}),
    State.OPEN: frozenset({State.PAUSED, State.CLOSED}),
    State.PAUSED: frozenset({State.ARMED, State.CLOSED}),
    State.CLOSED: frozenset({State.RETIRED}),
    State.RETIRED: frozenset(),
}


class TransferState(StrEnum):
    PLANNED = "planned"
    CROSSED = "crossed"
    ARRIVED = "arrived"
    VOID = "void"


TRANSFER_MOVES: dict[TransferState, frozenset[TransferState]] = {
    TransferState.PLANNED: frozenset({TransferState.CROSSED, TransferState.VOID}),
    TransferState.CROSSED: frozenset({TransferState.ARRIVED}),
    TransferState.ARRIVED: frozenset(),
    TransferState.VOID: frozenset(),
}
