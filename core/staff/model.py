"""Who works here, what each may do, and the notes that are kept of it."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from core.kit.refusal import Kind, Refusal

from .seals import Sealer


class Permission(StrEnum):
    """A noun and a verb. A route of the back office needs exactly one."""

    CATALOGUE_READ = "catalogue:read"
    CATALOGUE_WRITE = "catalogue:write"
    CATALOGUE_PRICE = "catalogue:price"
    CATALOGUE_PUBLISH = "catalogue:publish"
    CATALOGUE_IMPORT = "catalogue:import"
    CATALOGUE_EXPORT = "catalogue:export"
    STOCK_READ = "stock:read"
    STOCK_PLACE = "stock:place"
    STOCK_MOVE = "stock:move"
    STOCK_RESERVE = "stock:reserve"
    STOCK_COUNT = "stock:count"
    STOCK_APPROVE = "stock:approve"
    SALES_READ = "sales:read"
    SALES_PLAN = "sales:plan"
    SALES_RUN = "sales:run"
    FULFILMENT_READ = "fulfilment:read"
    FULFILMENT_WRITE = "fulfilment:write"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    FEEDS_READ = "feeds:read"
    FEEDS_WRITE = "feeds:write"
    OWN_STOCK_TELL = "own_stock:tell"
    OWN_STOCK_READ = "own_stock:read"
    LEDGER_READ = "ledger:read"
    LEDGER_WRITE = "ledger:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    STAFF_READ = "staff:read"
    STAFF_WRITE = "staff:write"


class Role(StrEnum):
    """What somebody is here for; `rules.ROLES` says what each may do."""

    ADMINISTRATOR = "administrator"
    MERCHANDISER = "merchandiser"
    STOREKEEPER = "storekeeper"
    PLANNER = "planner"
    FINANCE = "finance"
    SUPPORT = "support"
    INTEGRATOR = "integrator"
    AUDITOR = "auditor"
    SYSTEM = "system"


class Person(msgspec.Struct, frozen=True):
    name: str
    roles: list[str]
    active: bool
    added_at: datetime


class Author(msgspec.Struct, frozen=True):
    """Who changes something, as what, and by which request. `sealer` seals the notes of it."""

    sealer: Sealer
    by: str
    permission: Permission
    action: str
    request_id: str


class Change(msgspec.Struct, frozen=True):
    """An object as it was and as it is then: anything msgspec can write, None for what is not."""

    author: Author
    kind: str
    object_id: str
    before: object = None
    after: object = None


class Object(NamedTuple):
    """What notes are about: a product, a sale, a person."""

    kind: str
    object_id: str


class Note(msgspec.Struct, frozen=True):
    """`change` is canonical JSON: `before` and `after`, with only the members that differ."""

    id: int
    noted_at: datetime
    by_whom: str
    permission: str
    action: str
    kind: str
    object_id: str
    change: str
    request_id: str
    key_id: int
    seal: bytes


class Head(msgspec.Struct, frozen=True):
    note_id: int
    seal: bytes
    now: datetime


class Checkpoint(msgspec.Struct, frozen=True):
    """What the log was like once, kept where whoever may write to the database cannot reach."""

    note_id: int
    seal: bytes


class Finding(msgspec.Struct, frozen=True):
    """`checked` notes were as they should be; `note_id` is the first that is not, None for none."""

    checked: int
    last: Checkpoint
    note_id: int | None
    what: str


class Proof(msgspec.Struct, frozen=True):
    """The notary's last word: how far it came, and what is wrong there, "" for nothing."""

    wrong: str
    note_id: int
    age_s: float


class NoSuchPerson(Refusal):
    """Nobody of that name works here."""

    kind = Kind.NOT_FOUND


class NoSuchRole(Refusal):
    """There is no such role."""

    kind = Kind.INVALID


class PersonExists(Refusal):
    """Somebody of that name works here already."""

    kind = Kind.CONFLICT


class ImpossibleName(Refusal):
    """A name of staff is 1 to 63 characters of a-z, 0-9 and ._- and begins with a letter."""

    kind = Kind.INVALID


class TooManyPeople(Refusal):
    """The list of staff is full."""

    kind = Kind.CONFLICT
