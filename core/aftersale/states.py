from enum import StrEnum


class State(StrEnum):
    """How far a case is. Its buyer asks, withdraws and sends back; all else is the shop's."""

    ASKED = "asked"
    AGREED = "agreed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    ON_ITS_WAY = "on_its_way"
    RECEIVED = "received"
    REFUNDED = "refunded"
    REPLACED = "replaced"


MOVES: dict[State, frozenset[State]] = {
    State.ASKED: frozenset({State.AGREED, State.REFUSED, State.WITHDRAWN, State.REFUNDED}),
    State.AGREED: frozenset({State.ON_ITS_WAY, State.RECEIVED, State.WITHDRAWN}),
    State.ON_ITS_WAY: frozenset({State.RECEIVED}),
    State.RECEIVED: frozenset({State.REFUNDED, State.REPLACED}),
    State.REFUSED: frozenset(),
    State.WITHDRAWN: frozenset(),
    State.REFUNDED: frozenset(),
    State.REPLACED: frozenset(),
}

# Nothing came of it: its units may be asked for again.
VOID = frozenset({State.REFUSED, State.WITHDRAWN})
