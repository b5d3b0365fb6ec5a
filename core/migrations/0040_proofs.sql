-- The notary's last word on the log of staff: one row. `wrong` is empty where all of it is as it was written.
CREATE TABLE staff.proofs (
    id         boolean PRIMARY KEY DEFAULT true,
    wrong      text NOT NULL,
    note_id    bigint NOT NULL,
    proved_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT there_is_one_proof CHECK (id)
);
