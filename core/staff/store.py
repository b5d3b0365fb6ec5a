from collections.abc import Sequence

from core.kit.db import Conn, many, one

from .model import Checkpoint, Head, Note, Person, Proof

ADD = """ -- -> Person
    INSERT INTO staff.people (name) VALUES ($1) ON CONFLICT (name) DO NOTHING
 RETURNING name, roles, active, added_at
"""


async def add(conn: Conn, name: str) -> Person | None:
    """Nothing when somebody has that name."""
    return one(Person, await conn.fetchrow(ADD, name))


FIND = "SELECT name, roles, active, added_at FROM staff.people WHERE name = $1 -- -> Person"


async def find(conn: Conn, name: str) -> Person | None:
    return one(Person, await conn.fetchrow(FIND, name))


HOLD = """ -- -> Person
    SELECT name, roles, active, added_at FROM staff.people WHERE name = $1 FOR UPDATE
"""


async def hold(conn: Conn, name: str) -> Person | None:
    return one(Person, await conn.fetchrow(HOLD, name))


WRITE = """ -- -> Person
    UPDATE staff.people SET roles = $2, active = $3 WHERE name = $1
 RETURNING name, roles, active, added_at
"""


async def write(conn: Conn, name: str, roles: Sequence[str], *, active: bool) -> Person:
    found = one(Person, await conn.fetchrow(WRITE, name, roles, active))
    assert found is not None
    return found


PEOPLE = """ -- -> Person
    SELECT name, roles, active, added_at FROM staff.people ORDER BY name LIMIT $1
"""


async def people(conn: Conn, page_max: int) -> list[Person]:
    return many(Person, await conn.fetch(PEOPLE, page_max))


# Held until the end of the transaction, so whoever adds notes takes this lock last.
HOLD_HEAD = """ -- -> Head
    SELECT note_id, seal, clock_timestamp() AS now FROM staff.head FOR UPDATE
"""


async def hold_head(conn: Conn) -> Head:
    found = one(Head, await conn.fetchrow(HOLD_HEAD))
    assert found is not None
    return found


HEAD = "SELECT note_id, seal FROM staff.head -- -> Checkpoint"


async def head(conn: Conn) -> Checkpoint | None:
    return one(Checkpoint, await conn.fetchrow(HEAD))


ADD_NOTES = """
    WITH added AS (
        INSERT INTO staff.notes (id, noted_at, by_whom, permission, action, kind, object_id,
                                 change, request_id, key_id, seal)
        SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[],
                             $6::text[], $7::text[], $8::text[], $9::text[], $10::int[],
                             $11::bytea[])
     RETURNING id, seal)
    UPDATE staff.head SET (note_id, seal) = (SELECT id, seal FROM added ORDER BY id DESC LIMIT 1)
"""


async def add_notes(conn: Conn, notes: Sequence[Note]) -> None:
    columns = ([getattr(note, field) for note in notes] for field in Note.__struct_fields__)
    await conn.execute(ADD_NOTES, *columns)


NOTES = """ -- -> Note
    SELECT id, noted_at, by_whom, permission, action, kind, object_id, change, request_id, key_id,
           seal
      FROM staff.notes WHERE id > $1 ORDER BY id LIMIT $2
"""


async def notes(conn: Conn, after: int, page_max: int) -> list[Note]:
    return many(Note, await conn.fetch(NOTES, after, page_max))


LATEST = """ -- -> Note
    SELECT id, noted_at, by_whom, permission, action, kind, object_id, change, request_id, key_id,
           seal
      FROM staff.notes WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def latest(conn: Conn, before: int, page_max: int) -> list[Note]:
    return many(Note, await conn.fetch(LATEST, before, page_max))


LATEST_BY = """ -- -> Note
    SELECT id, noted_at, by_whom, permission, action, kind, object_id, change, request_id, key_id,
           seal
      FROM staff.notes WHERE by_whom = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""


async def latest_by(conn: Conn, by: str, before: int, page_max: int) -> list[Note]:
    return many(Note, await conn.fetch(LATEST_BY, by, before, page_max))


LATEST_OF = """ -- -> Note
    SELECT id, noted_at, by_whom, permission, action, kind, object_id, change, request_id, key_id,
           seal
      FROM staff.notes
     WHERE kind = $1 AND object_id = $2 AND id < $4 AND ($3::text IS NULL OR by_whom = $3)
     ORDER BY id DESC LIMIT $5
"""


async def latest_of(
    conn: Conn, kind: str, object_id: str, by: str | None, before: int, page_max: int
) -> list[Note]:
    return many(Note, await conn.fetch(LATEST_OF, kind, object_id, by, before, page_max))


RECORD_PROOF = """
    INSERT INTO staff.proofs (wrong, note_id) VALUES ($1, $2)
    ON CONFLICT (id) DO UPDATE
       SET wrong = excluded.wrong, note_id = excluded.note_id, proved_at = now()
"""


async def record_proof(conn: Conn, wrong: str, note_id: int) -> None:
    await conn.execute(RECORD_PROOF, wrong, note_id)


LAST_PROOF = """ -- -> Proof
    SELECT wrong, note_id, extract(epoch FROM now() - proved_at)::float8 AS age_s
      FROM staff.proofs
"""


async def last_proof(conn: Conn) -> Proof | None:
    return one(Proof, await conn.fetchrow(LAST_PROOF))
