from enum import StrEnum


class State(StrEnum):
    """Won: the money stays with us. Lost: it is the buyer's."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


# A provider may think again, and so may a bank.
MOVES: dict[State, frozenset[State]] = {
    State.OPEN: frozenset({State.WON, State.LOST}),
    State.WON: frozenset({State.OPEN, State.LOST}),
    State.LOST: frozenset({State.OPEN, State.WON}),
}
