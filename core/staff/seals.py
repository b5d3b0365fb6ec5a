"""Seals of notes: HMAC-SHA-256 by keys that are derived from the receipts' keys.

A seal covers the note and the seal before it, so a note that is changed, gone, added or moved
breaks the chain there; and who has the database but not the keys cannot make a new chain.
"""

from collections.abc import Mapping

from hotpath.signing import Signer

# No receipt begins like this, so nothing that was signed for a buyer is ever one of our keys.
PURPOSE = b"notes of staff"


class Sealer:
    """`signers` are a keyring's, by number: the newest seals, all verify."""

    def __init__(self, signers: Mapping[int, Signer]) -> None:
        self._signers = {number: Signer(signer.sign(PURPOSE)) for number, signer in signers.items()}
        self.newest = max(signers)

    def knows(self, key_id: int) -> bool:
        return key_id in self._signers

    def seal(self, key_id: int, payload: bytes) -> bytes:
        return self._signers[key_id].sign(payload)
