"""Disputes: what buyers contest at their provider, and what came of it there.

Owns    schema `disputes`
States  see `states.MOVES`
Words   a provider decides; while it has not, the money of the order waits; `told` is what it says
"""

from .model import Dispute, DisputeId, Happened, NoSuchDispute, Standing, Told
from .service import find, find_all, happened, hold, listing, note, standing, take_due
from .states import MOVES, State

__all__ = [
    "MOVES",
    "Dispute",
    "DisputeId",
    "Happened",
    "NoSuchDispute",
    "Standing",
    "State",
    "Told",
    "find",
    "find_all",
    "happened",
    "hold",
    "listing",
    "note",
    "standing",
    "take_due",
]
