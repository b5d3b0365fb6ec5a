from enum import StrEnum


class HoldState(StrEnum):
    HELD = "held"
    RELEASED = "released"


HOLD_MOVES: dict[HoldState, frozenset[HoldState]] = {
    HoldState.HELD: frozenset({HoldState.RELEASED}),
    HoldState.RELEASED: frozenset(),
}
