from enum import StrEnum


class State(StrEnum):
    RECEIVING = "receiving"
    READING = "reading"
    APPLYING = "applying"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class ExportState(StrEnum):
    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


EXPORT_MOVES: dict[ExportState, frozenset[ExportState]] = {
    ExportState.WRITING: frozenset({ExportState.DONE, ExportState.FAILED, ExportState.CANCELLED}),
    ExportState.DONE: frozenset(),
    ExportState.FAILED: frozenset(),
    ExportState.CANCELLED: frozenset(),
}


MOVES: dict[State, frozenset[State]] = {
    State.RECEIVING: frozenset({State.READING, State.REFUSED, State.CANCELLED}),
    State.READING: frozenset({State.APPLYING, State.REFUSED, State.CANCELLED}),
    State.APPLYING: frozenset({State.DONE, State.CANCELLED}),
    State.DONE: frozenset(),
    State.REFUSED: frozenset(),
    State.CANCELLED: frozenset(),
}
