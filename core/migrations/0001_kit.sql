CREATE SCHEMA IF NOT EXISTS kit;

-- Who plays a role of `sluice work` right now. A lease lost is no harm: each role's writes guard themselves.
CREATE TABLE kit.leases (
    role    text PRIMARY KEY,
    holder  text NOT NULL,
    until   timestamptz NOT NULL
);

-- What has to happen outside of Postgres because something happened inside, in the same transaction.
CREATE TABLE kit.outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text NOT NULL,
    payload    jsonb NOT NULL,
    due_at     timestamptz NOT NULL DEFAULT now(),
    attempts   int NOT NULL DEFAULT 0,
    error      text,
    parked_at  timestamptz
);

CREATE INDEX outbox_by_due ON kit.outbox (due_at) WHERE parked_at IS NULL;
