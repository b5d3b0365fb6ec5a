"""Walks the chain of notes, and says where it breaks. Pure."""

from collections.abc import Sequence

from .model import Checkpoint, Finding, Note
from .rules import sealed
from .seals import Sealer

START = Checkpoint(0, b"")


class Chain:
    """Add every note from behind `start` on, then ask for the end."""

    def __init__(
        self, sealer: Sealer, checkpoints: Sequence[Checkpoint] = (), *, start: Checkpoint = START
    ) -> None:
        self.last = start
        self._sealer = sealer
        self._known = [known for known in checkpoints if known.note_id > start.note_id]
        self._key_id = 0
        self._checked = 0

    def add(self, note: Note) -> Finding | None:
        """What is wrong with the next note, if anything."""
        number = self.last.note_id + 1
        if note.id != number:
            return self._broken(number, "is missing")
        if not self._sealer.knows(note.key_id):
            return self._broken(number, f"is sealed by key {note.key_id}, which is not here")
        # Who got hold of an old key cannot go on from where a newer one has sealed.
        if note.key_id < self._key_id:
            return self._broken(number, "is sealed by an older key than the note before")
        if note.seal != sealed(note, after=self.last.seal, sealer=self._sealer):
            return self._broken(number, "does not bear its seal: it, or one before, was changed")
        if any(k.note_id == number and k.seal != note.seal for k in self._known):
            return self._broken(number, "is not the one that a checkpoint names")
        self._key_id = note.key_id
        self._checked += 1
        self.last = Checkpoint(number, note.seal)
        return None

    def end(self, head: Checkpoint | None) -> Finding:
        """`head` is what the last writer left."""
        number = self.last.note_id + 1
        if any(known.note_id >= number for known in self._known):
            return self._broken(number, "is gone, and so is all up to a checkpoint")
        if head != self.last:
            return self._broken(number, "is gone, or the head of the log was changed")
        return Finding(self._checked, self.last, None, "")

    def _broken(self, number: int, what: str) -> Finding:
        return Finding(self._checked, self.last, number, f"note {number} {what}")
