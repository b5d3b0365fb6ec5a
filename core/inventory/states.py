from enum import StrEnum


class TransferState(StrEnum):
    PLANNED = "planned"
    SENT = "sent"
    ARRIVED = "arrived"
    CANCELLED = "cancelled"


TRANSFER_MOVES: dict[TransferState, frozenset[TransferState]] = {
    TransferState.PLANNED: frozenset({TransferState.SENT, TransferState.CANCELLED}),
    TransferState.SENT: frozenset({TransferState.ARRIVED}),
    TransferState.ARRIVED: frozenset(),
    TransferState.CANCELLED: frozenset(),
}
