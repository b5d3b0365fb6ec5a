"""Verbs: who may do what, and the notes of what was done."""

import re
from collections.abc import Sequence

import msgspec

from core.kit.db import Conn
from core.kit.ids import ID_MAX

from . import rules, store
from .chain import START, Chain
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
from .seals import Sealer

PEOPLE_MAX = 10_000
VERIFY_PAGE_MAX = 1_000
# `sluice token --admin` bears it, and nobody else may look like that.
RESERVED = frozenset({"admin"})
NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")


async def may(conn: Conn, *, name: str) -> frozenset[Permission] | None:
    """What somebody may do right now; None for who does not work here, or no longer."""
    person = await store.find(conn, name)
    return rules.permissions_of(person.roles) if person and person.active else None


async def people(conn: Conn) -> list[Person]:
    return await store.people(conn, PEOPLE_MAX)


async def add(conn: Conn, author: Author, *, name: str, roles: Sequence[str]) -> Person:
    """Raises ImpossibleName, NoSuchRole, PersonExists, TooManyPeople."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise ImpossibleName
    if len(await store.people(conn, PEOPLE_MAX)) == PEOPLE_MAX:
        raise TooManyPeople
    if await store.add(conn, name) is None:
        raise PersonExists
    person = await store.write(conn, name, known(roles), active=True)
    await note(conn, author, kind="person", object_id=name, after=person)
    return person


async def grant(conn: Conn, author: Author, *, name: str, role: str) -> Person:
    """Raises NoSuchPerson, NoSuchRole."""
    before = await hold(conn, name=name)
    (added,) = known([role])
    roles = sorted({*before.roles, added})
    return await _change(conn, author, before, roles=roles, active=before.active)


async def revoke(conn: Conn, author: Author, *, name: str, role: str) -> Person:
    """Raises NoSuchPerson. It holds from the next request on."""
    before = await hold(conn, name=name)
    roles = [held for held in before.roles if held != role]
    return await _change(conn, author, before, roles=roles, active=before.active)


async def disable(conn: Conn, author: Author, *, name: str) -> Person:
    """Raises NoSuchPerson. Every token of that name is worth nothing from the next request on."""
    before = await hold(conn, name=name)
    return await _change(conn, author, before, roles=before.roles, active=False)


async def enable(conn: Conn, author: Author, *, name: str) -> Person:
    """Raises NoSuchPerson."""
    before = await hold(conn, name=name)
    return await _change(conn, author, before, roles=before.roles, active=True)


async def hold(conn: Conn, *, name: str) -> Person:
    person = await store.hold(conn, name) if NAME.fullmatch(name) else None
    if person is None:
        raise NoSuchPerson
    return person


async def _change(
    conn: Conn, author: Author, before: Person, *, roles: Sequence[str], active: bool
) -> Person:
    person = await store.write(conn, before.name, roles, active=active)
    await note(conn, author, kind="person", object_id=person.name, before=before, after=person)
    return person


def known(roles: Sequence[str]) -> list[str]:
    for role in roles:
        if role not in set(Role):
            raise NoSuchRole(role=role[:64], known=list(Role))
    return sorted(set(roles))


async def note(
    conn: Conn,
    author: Author | None,
    *,
    kind: str,
    object_id: str,
    before: object = None,
    after: object = None,
) -> None:
    """Note a change in the transaction that makes it, as the last thing it does.

    Without an author a machine did it, and there is nothing to note.
    """
    if author is not None:
        await note_all(conn, [Change(author, kind, object_id, before, after)])


async def note_all(conn: Conn, changes: Sequence[Change]) -> None:
    if not changes:
        return
    head = await store.hold_head(conn)
    seal, notes = head.seal, []
    for number, change in enumerate(changes, head.note_id + 1):
        author = change.author
        bare = Note(
            id=number,
            noted_at=head.now,
            by_whom=author.by,
            permission=author.permission,
            action=author.action,
            kind=change.kind,
            object_id=change.object_id,
            change=rules.written(change.before, change.after, sealer=author.sealer),
            request_id=author.request_id,
            key_id=author.sealer.newest,
            seal=b"",
        )
        seal = rules.sealed(bare, after=seal, sealer=author.sealer)
        notes.append(msgspec.structs.replace(bare, seal=seal))
    await store.add_notes(conn, notes)


async def notes(
    conn: Conn,
    *,
    before: int | None,
    page_max: int,
    of: Object | None = None,
    by: str | None = None,
) -> list[Note]:
    """Newest first, below `before`: all, or those of one object, or of one person, or of both."""
    below = ID_MAX if before is None else before
    if of is not None:
        return await store.latest_of(conn, of.kind, of.object_id, by, below, page_max)
    if by is not None:
        return await store.latest_by(conn, by, below, page_max)
    return await store.latest(conn, below, page_max)


async def verify(
    conn: Conn,
    sealer: Sealer,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    since: Checkpoint = START,
) -> Finding:
    """Hold every note against the seal before it, and the log against what was known of it.

    What is up to `since` is taken as it is. Wants all of it to be read at one instant.
    """
    chain = Chain(sealer, checkpoints, start=since)
    while page := await store.notes(conn, chain.last.note_id, VERIFY_PAGE_MAX):
        for found in page:
            if wrong := chain.add(found):
                return wrong
    return chain.end(await store.head(conn))


async def verify_newest(conn: Conn, sealer: Sealer, *, notes_max: int) -> Finding:
    """The same for so many of the newest, the seal before the first of them taken as it is."""
    head = await store.head(conn)
    skipped = head.note_id - notes_max if head else 0
    base = await store.notes(conn, skipped - 1, 1) if skipped > 0 else []
    since = Checkpoint(base[0].id, base[0].seal) if base else START
    return await verify(conn, sealer, since=since)


async def record_proof(conn: Conn, found: Finding) -> None:
    """Let everybody know what the notary found last."""
    await store.record_proof(conn, found.what, found.last.note_id)


async def last_proof(conn: Conn) -> Proof | None:
    return await store.last_proof(conn)
