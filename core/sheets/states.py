from enum import StrEnum


class State(StrEnum):
    RECEIVING = "receiving"
    READING = "reading"
    APPLYING = "applying"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


MOVES: dict[State, frozenset[State]] = {
    State.RECEIVING: frozenset({State.READING, State.REFUSED, State.CANCELLED}),
    State.READING: frozenset({State.APPLYING, State.REFUSED, State.CANCELLED}),
    State.APPLYING: frozenset({State.DONE, State.CANCELLED}),
    State.DONE: frozenset(),
    State.REFUSED: frozenset(),
    State.CANCELLED: frozenset(),
}
