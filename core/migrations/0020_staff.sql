CREATE SCHEMA staff;

-- Who works here. What a role may do stands in the code; a role that the code does not know allows nothing.
CREATE TABLE staff.people (
    name      text PRIMARY KEY,
    roles     text[] NOT NULL DEFAULT '{}',
    active    boolean NOT NULL DEFAULT true,
    added_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_name_is_plain CHECK (name ~ '^[a-z][a-z0-9._-]{0,62}$')
);

-- What staff changed. Each note is sealed together with the seal before it, by a key that no database has.
CREATE TABLE staff.notes (
    id          bigint PRIMARY KEY,
    noted_at    timestamptz NOT NULL,
    by_whom     text NOT NULL,
    permission  text NOT NULL,
    action      text NOT NULL,
    kind        text NOT NULL,
    object_id   text NOT NULL,
    change      text NOT NULL,
    request_id  text NOT NULL,
    key_id      int NOT NULL,
    seal        bytea NOT NULL
);

CREATE INDEX notes_by_object ON staff.notes (kind, object_id, id);
CREATE INDEX notes_by_person ON staff.notes (by_whom, id);

-- The last note's number and seal. Whoever adds notes holds it until the end, so that none is skipped.
CREATE TABLE staff.head (
    single   boolean PRIMARY KEY DEFAULT true,
    note_id  bigint NOT NULL,
    seal     bytea NOT NULL,
    CONSTRAINT there_is_one_head CHECK (single)
);

INSERT INTO staff.head (note_id, seal) SELECT 0, '';

CREATE FUNCTION staff.refuse_to_change_the_past() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'notes are only ever added' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER notes_are_only_ever_added
-- contract: this refuses a truncation, and is none
BEFORE UPDATE OR DELETE OR TRUNCATE ON staff.notes
FOR EACH STATEMENT EXECUTE FUNCTION staff.refuse_to_change_the_past();
