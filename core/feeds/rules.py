"""What makes a message fit its kind, and a snapshot credible. Pure."""

import hashlib
from collections import Counter
from collections.abc import Mapping

import msgspec

from .model import DiffersTooMuch, Kind, Message, UnfitMessage

DIFFERING_MAX = 1_000
# A snapshot in which more than this part of all units is gone was taken of something else.
GONE_PART_MAX = 0.5
# Fewer units than this may all be gone at once.
GONE_FEW = 100


def digest(message: Message, place_id: int) -> bytes:
    """The same for the same message only."""
    told = msgspec.json.encode([place_id, message], order="sorted")
    return hashlib.sha256(told).digest()


def check(message: Message) -> None:
    """Raises UnfitMessage."""
    kind = message.kind
    parcel = (message.consignment_id, message.carrier, message.tracking)
    is_parcel = kind is Kind.SHIPPED and None not in parcel
    if (kind is Kind.ALIVE or is_parcel) == bool(message.lines):
        raise UnfitMessage("A message has lines; a sign of life, or of a consignment, has none.")
    if not is_parcel and parcel != (None, None, None):
        raise UnfitMessage(
            "`consignment_id`, `carrier` and `tracking` go together, where it ships."
        )
    if (kind is Kind.SHIPPED and not is_parcel) != (message.kept_for is not None):
        raise UnfitMessage("What ships is a consignment, or names whom it was kept for.")
    if (kind is Kind.SNAPSHOT) != (message.told_before is not None):
        raise UnfitMessage("A snapshot says how many messages it comes after (`told_before`).")
    twice = [code for code, n in Counter(one.sku_code for one in message.lines).items() if n > 1]
    if twice:
        raise UnfitMessage(f"{twice[0]} stands there twice.", sku_code=twice[0])
    for line in message.lines:
        if not _fits(kind, line.quantity):
            raise UnfitMessage(f"{line.quantity} does not fit.", sku_code=line.sku_code)


def _fits(kind: Kind, quantity: int) -> bool:
    if kind is Kind.ADJUSTED:
        return quantity != 0
    return quantity >= (0 if kind is Kind.SNAPSHOT else 1)


def insist_on_credible(
    books: Mapping[int, int], counted: Mapping[int, int], *, unknown: int
) -> None:
    """Both are SKU id -> units on hand. Raises DiffersTooMuch."""
    differing = unknown + len(differences(books, counted))
    if differing > DIFFERING_MAX:
        raise DiffersTooMuch(differing=differing, differing_max=DIFFERING_MAX)
    gone = sum(max(0, has - counted.get(sku_id, 0)) for sku_id, has in books.items())
    if gone > max(GONE_FEW, GONE_PART_MAX * sum(books.values())):
        raise DiffersTooMuch(gone=gone, on_hand=sum(books.values()))


def differences(books: Mapping[int, int], counted: Mapping[int, int]) -> dict[int, int]:
    """SKU id -> what was counted (else 0), where the books say otherwise."""
    every = sorted(books.keys() | counted.keys())
    found = {sku_id: counted.get(sku_id, 0) for sku_id in every}
    return {sku_id: units for sku_id, units in found.items() if units != books.get(sku_id, 0)}
