"""What each role may do, and how a change is written down. Pure."""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from .model import Note, Permission, Role
from .seals import Sealer

P = Permission
EVERYTHING = frozenset(Permission)
READING = frozenset(one for one in Permission if one.endswith(":read"))
STOCK = frozenset(one for one in Permission if one.startswith("stock:"))

ROLES: Mapping[Role, frozenset[Permission]] = {
    Role.ADMINISTRATOR: EVERYTHING,
    Role.MERCHANDISER: frozenset(
        {P.CATALOGUE_READ, P.CATALOGUE_WRITE, P.CATALOGUE_PRICE, P.CATALOGUE_PUBLISH, P.STOCK_READ}
    )
    | {P.CATALOGUE_IMPORT, P.CATALOGUE_EXPORT},
    Role.STOREKEEPER: STOCK
    | {P.CATALOGUE_READ, P.FEEDS_READ, P.FULFILMENT_READ, P.FULFILMENT_WRITE},
    Role.PLANNER: frozenset(
        {P.SALES_READ, P.SALES_PLAN, P.SALES_RUN, P.CATALOGUE_READ, P.STOCK_READ}
    ),
    Role.FINANCE: frozenset(
        {P.LEDGER_READ, P.LEDGER_WRITE, P.ORDERS_READ, P.SALES_READ, P.CATALOGUE_READ}
    )
    | {P.CATALOGUE_PRICE, P.STOCK_READ, P.STOCK_APPROVE},
    Role.SUPPORT: frozenset(
        {P.ORDERS_READ, P.ORDERS_WRITE, P.SALES_READ, P.CATALOGUE_READ, P.STOCK_READ}
    )
    | {P.FULFILMENT_READ},
    Role.INTEGRATOR: frozenset({P.WEBHOOKS_READ, P.WEBHOOKS_WRITE}),
    Role.AUDITOR: READING,
    # A program: it hears and tells of the places that it has a feed of, and of no other.
    Role.SYSTEM: frozenset({P.OWN_STOCK_TELL, P.OWN_STOCK_READ}),
}

CHANGE_BYTES_MAX = 64 * 1024
# Members that hold what belongs to a person, wherever they stand: a note shows that they changed,
# and never what they were.
PERSONAL = frozenset({"address", "birthday", "email", "phone", "recipient", "tax_id"})


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """All that these roles may do together. A role that nobody knows may nothing."""
    known = [ROLES[Role(role)] for role in roles if role in set(Role)]
    return frozenset().union(*known)


def written(before: object, after: object, *, sealer: Sealer) -> str:
    """A change as canonical JSON. One that is too long leaves only its length and its hash."""
    old, new = (veiled(msgspec.to_builtins(one, str_keys=True), sealer) for one in (before, after))
    if isinstance(old, dict) and isinstance(new, dict):
        same = {name for name in old.keys() & new.keys() if old[name] == new[name]}
        old, new = ({k: v for k, v in one.items() if k not in same} for one in (old, new))
    told = canonical({"before": old, "after": new})
    if len(told) > CHANGE_BYTES_MAX:
        told = canonical({"bytes": len(told), "sha256": hashlib.sha256(told).hexdigest()})
    return told.decode()


def veiled(value: object, sealer: Sealer) -> object:
    """The same, with what is personal replaced by a keyed hash of it."""
    if isinstance(value, list):
        return [veiled(one, sealer) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: veil(one, sealer) if name in PERSONAL and one is not None else veiled(one, sealer)
        for name, one in value.items()
    }


def veil(value: object, sealer: Sealer) -> object:
    return {"veiled": sealer.seal(sealer.newest, b"veil" + canonical(value)).hex()}


def canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def sealed(note: Note, *, after: bytes, sealer: Sealer) -> bytes:
    """The seal that a note has to bear behind one with the seal `after`."""
    members = msgspec.structs.asdict(note) | {"seal": after.hex()}
    members["noted_at"] = note.noted_at.isoformat()
    return sealer.seal(note.key_id, canonical(members))
