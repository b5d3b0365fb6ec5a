from enum import StrEnum


class TransferState(StrEnum):
    PLANNED = "planned"
    SENT = "sent"
    ARRIVED = "arrived"
    CANCELLED = "cancelled"


class CountState(StrEnum):
    PROPOSED = "proposed"
    APPLIED = "applied"
    REJECTED = "rejected"


COUNT_MOVES: dict[CountState, frozenset[CountState]] = {
    CountState.PROPOSED: frozenset({CountState.APPLIED, CountState.REJECTED}),
    CountState.APPLIED: frozenset(),
    CountState.REJECTED: frozenset(),
}


TRANSFER_MOVES: dict[TransferState, frozenset[TransferState]] = {
    TransferState.PLANNED: frozenset({TransferState.SENT, TransferState.CANCELLED}),
    TransferState.SENT: frozenset({TransferState.ARRIVED}),
    TransferState.ARRIVED: frozenset(),
    TransferState.CANCELLED: frozenset(),
}
