"""Staff: who works here, what each may do, and notes of what they changed.

Owns    schema `staff`
Rules   `rules.ROLES`: what each role may do; what stands nowhere is refused
Words   an author is somebody of staff in one request; a note is a row about what an author changed,
        sealed together with the one before
"""

from .chain import START
from .model import (
    Author,
    Change,
    Checkpoint,
    Finding,
    ImpossibleName,
    NoSuchPerson,
    NoSuchRole,
    Note,
    Object,
    Permission,
    Person,
    PersonExists,
    Proof,
    Role,
    TooManyPeople,
)
from .rules import EVERYTHING, ROLES
from .seals import Sealer
from .service import (
    add,
    disable,
    enable,
    grant,
    last_proof,
    may,
    note,
    note_all,
    notes,
    people,
    record_proof,
    revoke,
    verify,
    verify_newest,
)

__all__ = [
    "EVERYTHING",
    "ROLES",
    "START",
    "Author",
    "Change",
    "Checkpoint",
    "Finding",
    "ImpossibleName",
    "NoSuchPerson",
    "NoSuchRole",
    "Note",
    "Object",
    "Permission",
    "Person",
    "PersonExists",
    "Proof",
    "Role",
    "Sealer",
    "TooManyPeople",
    "add",
    "disable",
    "enable",
    "grant",
    "last_proof",
    "may",
    "note",
    "note_all",
    "notes",
    "people",
    "record_proof",
    "revoke",
    "verify",
    "verify_newest",
]
