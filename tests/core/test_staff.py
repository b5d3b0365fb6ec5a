"""Who may do what, and a log of it that nobody rewrites unseen.

LOG_EDITS says how many ways of rewriting it are tried.
"""

import asyncio
import contextlib
import json
import os
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import staff
from core.jobs.notary import Notary
from core.kit import db
from core.staff import rules
from core.staff.chain import Chain
from hotpath.signing import Signer
from tests.tidy.tree import ROOT

NEW, OLD = Signer(b"n" * 32), Signer(b"o" * 32)
SEALER = staff.Sealer({1: OLD, 2: NEW})
LONG = 12
EDITS = int(os.environ.get("LOG_EDITS", "1000"))
HANDS, NOTES_EACH = 8, 25


def author(by="bea", permission="catalogue:write"):
    return staff.Author(SEALER, by, staff.Permission(permission), "POST /v1/admin/x", "r-1")


def chain(count, *, sealer=SEALER):
    """Notes as `staff.note` writes them; the first third by an older key."""
    notes, seal = [], b""
    for number in range(1, count + 1):
        bare = staff.Note(
            id=number,
            noted_at=datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=number),
            by_whom=f"person-{number % 3}",
            permission="stock:move",
            action="POST /v1/admin/stock/movements",
            kind="movement",
            object_id=f"r-{number}",
            change=rules.written(None, {"units": number}, sealer=sealer),
            request_id=f"request-{number}",
            key_id=1 if number <= count // 3 else 2,
            seal=b"",
        )
        seal = rules.sealed(bare, after=seal, sealer=sealer)
        notes.append(msgspec.structs.replace(bare, seal=seal))
    return notes


def walk(notes, *, head=None, known=()):
    found = Chain(SEALER, known)
    for note in notes:
        if wrong := found.add(note):
            return wrong
    return found.end(head or point(notes[-1]) if notes else staff.Checkpoint(0, b""))


def point(note):
    return staff.Checkpoint(note.id, note.seal)


GOOD = chain(LONG)
TEXTS = ("by_whom", "permission", "action", "kind", "object_id", "change", "request_id")


@st.composite
def edited(draw, note):
    """A note with one member edited: a character of a text, a bit of the seal or of a number."""
    name = draw(st.sampled_from(["id", "noted_at", "key_id", "seal", *TEXTS]))
    was = getattr(note, name)
    if name in TEXTS:
        at = draw(st.integers(0, len(was)))
        now = was[:at] + draw(st.characters(codec="utf-8")) + was[at + draw(st.booleans()) :]
        now = now if now != was else was + "!"
    elif name == "seal":
        bit = draw(st.integers(0, 8 * len(was) - 1))
        now = (int.from_bytes(was) ^ 1 << bit).to_bytes(len(was))
    elif name == "noted_at":
        now = was + timedelta(microseconds=1 << draw(st.integers(0, 40)))
    else:
        now = was ^ 1 << draw(st.integers(0, 31))
    return msgspec.structs.replace(note, **{name: now})


@st.composite
def tampered(draw):
    """A log somebody was at, the head that they left, and the note that has to be named."""
    notes = list(GOOD)
    at = draw(st.integers(0, LONG - 1))
    deed = draw(st.sampled_from(["edit", "delete", "insert", "swap", "truncate", "forge"]))
    if deed == "edit":
        notes[at] = draw(edited(notes[at]))
    elif deed == "delete":
        del notes[at]
        if draw(st.booleans()):
            notes = renumbered(notes)
    elif deed == "insert":
        notes.insert(at, draw(st.sampled_from(GOOD)))
        notes = renumbered(notes)
        # A copy of a note in its own place is no forgery; the next one then is.
        at += notes[at] == GOOD[at]
    elif deed == "swap":
        other = draw(st.integers(0, LONG - 1).filter(lambda o: o != at))
        notes[at], notes[other] = notes[other], notes[at]
        notes, at = renumbered(notes) if draw(st.booleans()) else notes, min(at, other)
    elif deed == "truncate":
        notes = notes[:at]
    else:
        # With all rights to the database, and without a key: everything from here on is new.
        foreign = chain(LONG, sealer=staff.Sealer({1: Signer(b"x" * 32), 2: Signer(b"y" * 32)}))
        notes = notes[:at] + foreign[at:]
    return notes, point(notes[-1]) if notes else staff.Checkpoint(0, b""), at + 1


def renumbered(notes):
    return [msgspec.structs.replace(note, id=n) for n, note in enumerate(notes, 1)]


@given(tampered())
@settings(max_examples=EDITS)
def test_every_edit_is_found_and_the_first_broken_note_is_named(attempt):
    notes, head, first = attempt
    found = walk(notes, head=head, known=[point(GOOD[-1])])
    assert (found.note_id, found.checked) == (first, first - 1), found


def test_what_nobody_touched_is_whole():
    assert walk(GOOD, known=[point(note) for note in GOOD]).note_id is None
    assert walk(GOOD).last == point(GOOD[-1])
    assert walk([]) == staff.Finding(0, staff.Checkpoint(0, b""), None, "")


def test_a_shorter_log_is_found_by_its_head_alone_or_by_a_checkpoint_alone():
    assert walk(GOOD[:-1], head=point(GOOD[-1])).note_id == LONG
    assert walk(GOOD[:-1]).note_id is None
    assert walk(GOOD[:5], known=[point(GOOD[7])]).note_id == 6


def test_an_old_key_cannot_go_on_behind_a_newer_one():
    bare = msgspec.structs.replace(GOOD[-1], id=LONG + 1, key_id=1, seal=b"")
    seal = rules.sealed(bare, after=GOOD[-1].seal, sealer=SEALER)
    found = walk([*GOOD, msgspec.structs.replace(bare, seal=seal)])
    assert (found.note_id, found.what) == (
        LONG + 1,
        "note 13 is sealed by an older key than the note before",
    )


def test_a_receipts_signature_is_no_seal():
    payload = b'{"x":1}'
    assert SEALER.seal(2, payload) != NEW.sign(payload)


async def test_a_change_is_noted_with_what_differs_and_hides_what_is_personal(conn):
    before = {"name": "Kettle", "price": 5, "buyer": {"email": "ann@example.com", "vip": False}}
    after = before | {"price": 6, "buyer": {"email": "bob@example.com", "vip": False}}
    await staff.note(conn, author(), kind="sku", object_id="7", before=before, after=after)
    (note,) = await staff.notes(conn, before=None, page_max=10)
    told = json.loads(note.change)
    assert (note.id, note.by_whom, note.permission) == (1, "bea", "catalogue:write")
    assert told["before"]["price"] == 5
    assert told["after"]["price"] == 6
    assert "name" not in told["before"]
    assert "example.com" not in note.change
    hidden = [told[when]["buyer"]["email"]["veiled"] for when in ("before", "after")]
    assert hidden[0] != hidden[1]
    assert (await staff.verify(conn, SEALER)).checked == 1


async def test_a_change_that_is_too_long_leaves_its_hash(conn):
    await staff.note(conn, author(), kind="sale", object_id="1", after={"items": ["x" * 70_000]})
    (note,) = await staff.notes(conn, before=None, page_max=10)
    assert set(json.loads(note.change)) == {"bytes", "sha256"}
    assert (await staff.verify(conn, SEALER)).note_id is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE staff.notes SET by_whom = 'nobody' WHERE id = 1",
        "DELETE FROM staff.notes",
        "TRUNCATE staff.notes",
    ],
)
async def test_the_database_refuses_to_change_the_past(conn, statement):
    await staff.note(conn, author(), kind="sku", object_id="7")
    with pytest.raises(asyncpg.RestrictViolationError):
        await conn.execute(statement)


@pytest.mark.parametrize("guide", ["docs/staff.md", "docs/staff.zh-CN.md"])
async def test_a_role_with_the_grants_of_the_guide_adds_notes_and_changes_none(conn, guide):
    (grants,) = re.findall(
        "```sql\n(.*?)```", (ROOT / guide).read_text(encoding="utf-8"), re.DOTALL
    )
    await conn.execute("CREATE ROLE shop")
    await conn.execute(grants)
    await conn.execute("SET LOCAL ROLE shop")
    await staff.add(conn, author(), name="bea", roles=[])
    await staff.grant(conn, author(), name="bea", role="auditor")
    assert (await staff.verify(conn, SEALER)).checked == 2
    for forbidden in (
        "UPDATE staff.notes SET by_whom = 'nobody'",
        "DELETE FROM staff.notes",
        "TRUNCATE staff.notes",
        "ALTER TABLE staff.notes DISABLE TRIGGER ALL",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with db.savepoint(conn):
                await conn.execute(forbidden)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE staff.notes SET by_whom = 'nobody' WHERE id = 2",
        "UPDATE staff.notes SET noted_at = noted_at + interval '1 microsecond' WHERE id = 2",
        "DELETE FROM staff.notes WHERE id = 2",
        "DELETE FROM staff.notes WHERE id >= 2",
        """INSERT INTO staff.notes
           SELECT (jsonb_populate_record(notes, '{"id": 4}')).* FROM staff.notes WHERE id = 3""",
    ],
)
async def test_who_owns_the_database_can_change_it_and_is_found_out(pool, statement):
    for number in range(3):
        async with db.transaction(pool) as conn:
            await staff.note(conn, author(), kind="sku", object_id=str(number))
    async with db.transaction(pool) as conn:
        assert (await staff.verify(conn, SEALER)).note_id is None
        await conn.execute("ALTER TABLE staff.notes DISABLE TRIGGER ALL")
        await conn.execute(statement)
    async with db.snapshot(pool) as conn:
        found = await staff.verify(conn, SEALER)
        assert found.note_id == (4 if statement.startswith("INSERT") else 2)
        assert (await staff.verify_newest(conn, SEALER, notes_max=1)).checked <= 1


async def test_many_hands_leave_one_chain_and_who_rolls_back_leaves_no_gap(pool):
    async def work(hand):
        for turn in range(NOTES_EACH):
            with contextlib.suppress(staff.NoSuchPerson):
                async with db.transaction(pool) as conn:
                    name = f"{hand}-{turn}"
                    await staff.note(conn, author(f"hand-{hand}"), kind="sku", object_id=name)
                    if turn % 5 == 4:
                        await staff.disable(conn, author(), name="nobody")

    await asyncio.gather(*(work(hand) for hand in range(HANDS)))
    async with db.snapshot(pool) as conn:
        found = await staff.verify(conn, SEALER)
        assert (found.note_id, found.checked) == (None, HANDS * NOTES_EACH * 4 // 5)
        few = await staff.verify_newest(conn, SEALER, notes_max=7)
        assert (few.note_id, few.checked, few.last) == (None, 7, found.last)


async def test_notes_are_found_by_object_and_by_person(conn):
    for number in range(6):
        by = author(f"person-{number % 2}")
        await staff.note(conn, by, kind="sku", object_id=str(number % 3))

    async def ids(**facts):
        return [note.id for note in await staff.notes(conn, before=None, page_max=4, **facts)]

    assert await ids() == [6, 5, 4, 3]
    assert await ids(of=staff.Object("sku", "1")) == [5, 2]
    assert await ids(of=staff.Object("sku", "1"), by="person-1") == [2]
    assert await ids(by="person-0") == [5, 3, 1]
    assert [n.id for n in await staff.notes(conn, before=3, page_max=4)] == [2, 1]


async def test_roles_add_up_and_what_is_unknown_allows_nothing(conn):
    await staff.add(conn, author(), name="bea", roles=["storekeeper"])
    assert await staff.may(conn, name="bea") == staff.ROLES[staff.Role.STOREKEEPER]
    await staff.grant(conn, author(), name="bea", role="finance")
    assert {"stock:count", "ledger:write"} <= await staff.may(conn, name="bea")
    await staff.revoke(conn, author(), name="bea", role="storekeeper")
    assert "stock:count" not in await staff.may(conn, name="bea")
    await conn.execute("UPDATE staff.people SET roles = '{emperor}'")
    assert await staff.may(conn, name="bea") == frozenset()
    await staff.disable(conn, author(), name="bea")
    assert await staff.may(conn, name="bea") is None
    assert await staff.may(conn, name="nobody") is None
    assert [note.object_id for note in await staff.notes(conn, before=None, page_max=9)] == [
        "bea"
    ] * 4


async def test_people_are_added_once_and_by_plain_names(conn):
    for name in ("admin", "Bea", "shell:bea", "bea\n", "", "b" * 64):
        with pytest.raises(staff.ImpossibleName):
            await staff.add(conn, author(), name=name, roles=[])
    with pytest.raises(staff.NoSuchRole):
        await staff.add(conn, author(), name="bea", roles=["emperor"])


async def test_who_is_there_already_is_not_added_again(conn):
    await staff.add(conn, author(), name="bea", roles=[])
    with pytest.raises(staff.PersonExists):
        await staff.add(conn, author(), name="bea", roles=["administrator"])
    assert await staff.may(conn, name="bea") == frozenset()
    with pytest.raises(staff.NoSuchPerson):
        await staff.grant(conn, author(), name="ann", role="auditor")


def test_an_auditor_reads_all_and_changes_nothing():
    held = staff.ROLES[staff.Role.AUDITOR]
    assert held == {one for one in staff.Permission if one.endswith(":read")}
    assert staff.ROLES.keys() == set(staff.Role)


async def test_the_notary_finds_what_happens_behind_its_back(pool, capsys):
    async def note(name):
        async with db.transaction(pool) as conn:
            await staff.note(conn, author(), kind="sku", object_id=name)

    async def tamper(statement):
        async with db.transaction(pool) as conn:
            await conn.execute("ALTER TABLE staff.notes DISABLE TRIGGER ALL")
            await conn.execute(statement)

    async def said():
        capsys.readouterr()
        await notary.step()
        # Where a test before this one set the logs up, they go to standard error.
        return "".join(capsys.readouterr())

    async def proof():
        async with db.reading(pool) as conn:
            found = await staff.last_proof(conn)
        return found.note_id, found.wrong

    notary = Notary(pool, SEALER)
    for name in ("a", "b", "c"):
        await note(name)
    assert "3:" in await said()
    assert await proof() == (3, "")
    assert await said() == ""
    await note("d")
    assert "4:" in await said()
    await tamper("DELETE FROM staff.notes WHERE id > 2")
    await tamper("UPDATE staff.head SET note_id = 2, seal = n.seal FROM staff.notes n WHERE id = 2")
    assert "note 3 is gone" in await said()
    number, wrong = await proof()
    assert number == 2
    assert "note 3 is gone" in wrong
    # Whoever begins anew does not know that there was more; what is changed is found all the same.
    notary = Notary(pool, SEALER)
    assert "2:" in await said()
    await tamper("UPDATE staff.notes SET by_whom = 'nobody' WHERE id = 1")
    assert await said() == ""
    notary = Notary(pool, SEALER)
    assert "note 1 does not bear its seal" in await said()
