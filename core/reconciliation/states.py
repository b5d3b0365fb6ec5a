from enum import StrEnum


class State(StrEnum):
    """Of a difference: `gone` where a later look did not find it any more."""

    OPEN = "open"
    RESOLVED = "resolved"
    GONE = "gone"


# What somebody explained stays explained, however often it is found again.
MOVES: dict[State, frozenset[State]] = {
    State.OPEN: frozenset({State.RESOLVED, State.GONE}),
    State.GONE: frozenset({State.OPEN}),
    State.RESOLVED: frozenset(),
}
