CREATE SCHEMA webhooks;

-- `failures` counts those since the last success; from some on the endpoint rests, and is then asked by one
-- delivery at a time.
CREATE TABLE webhooks.subscriptions (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url            text NOT NULL,
    kinds          text[] NOT NULL,
    state          text NOT NULL,
    reason         text,
    failures       int NOT NULL DEFAULT 0,
    failing_since  timestamptz,
    rests_until    timestamptz,
    made_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT something_is_subscribed CHECK (cardinality(kinds) >= 1),
    CONSTRAINT only_a_disabled_subscription_has_a_reason CHECK ((state = 'disabled') = (reason IS NOT NULL)),
    CONSTRAINT who_fails_does_so_since_a_moment CHECK ((failures = 0) = (failing_since IS NULL))
);

-- What signs is derived from the salt by a key that no database has. `ends_at` is set by a rotation.
CREATE TABLE webhooks.secrets (
    subscription_id  bigint NOT NULL REFERENCES webhooks.subscriptions,
    salt             bytea NOT NULL,
    key_id           int NOT NULL,
    made_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at          timestamptz,
    PRIMARY KEY (subscription_id, salt)
);

-- One for each event that somebody wanted. Every attempt sends these bytes.
CREATE TABLE webhooks.messages (
    id           text PRIMARY KEY,
    kind         text NOT NULL,
    happened_at  timestamptz NOT NULL,
    told_at      timestamptz NOT NULL DEFAULT now(),
    body         bytea NOT NULL
);

CREATE INDEX messages_by_time ON webhooks.messages (told_at);

CREATE FUNCTION webhooks.refuse_to_change_the_past() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a message stays as it was sent' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER a_message_stays_as_it_was_sent
BEFORE UPDATE ON webhooks.messages
FOR EACH STATEMENT EXECUTE FUNCTION webhooks.refuse_to_change_the_past();

-- `attempts` numbers them all; `tries` counts those since it was last begun, by which the next pause is known.
CREATE TABLE webhooks.deliveries (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id  bigint NOT NULL REFERENCES webhooks.subscriptions,
    message_id       text NOT NULL REFERENCES webhooks.messages ON DELETE CASCADE,
    state            text NOT NULL,
    attempts         int NOT NULL DEFAULT 0,
    tries            int NOT NULL DEFAULT 0,
    due_at           timestamptz NOT NULL DEFAULT now(),
    begun_at         timestamptz NOT NULL DEFAULT now(),
    ended_at         timestamptz,
    CONSTRAINT a_message_is_delivered_once UNIQUE (message_id, subscription_id),
    CONSTRAINT what_is_pending_has_not_ended CHECK ((state = 'pending') = (ended_at IS NULL))
);

CREATE INDEX deliveries_by_due ON webhooks.deliveries (subscription_id, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_given_up ON webhooks.deliveries (subscription_id, id) WHERE state = 'given_up';
CREATE INDEX deliveries_by_subscription ON webhooks.deliveries (subscription_id, id);

CREATE TABLE webhooks.attempts (
    delivery_id  bigint NOT NULL REFERENCES webhooks.deliveries ON DELETE CASCADE,
    number       int NOT NULL,
    began_at     timestamptz NOT NULL,
    latency_ms   int NOT NULL,
    status       int,
    answer       text NOT NULL,
    error        text,
    PRIMARY KEY (delivery_id, number)
);

-- Up to which transaction each source has been told. `since` keeps out what is older than the reading: after
-- a restore from a dump, transactions are numbered anew.
CREATE TABLE webhooks.cursors (
    source    text PRIMARY KEY,
    reached   xid8 NOT NULL,
    since     timestamptz NOT NULL,
    moved_at  timestamptz NOT NULL DEFAULT now()
);

INSERT INTO webhooks.cursors (source, reached, since)
SELECT unnest('{sale_orders,ordinary_orders,order_events}'::text[]), pg_snapshot_xmin(pg_current_snapshot()), now();

-- The last order that was told of each epoch of a bucket, and its sale's cursor then.
CREATE TABLE webhooks.buckets (
    bucket    int NOT NULL,
    epoch     int NOT NULL,
    position  text NOT NULL,
    order_id  uuid NOT NULL,
    PRIMARY KEY (bucket, epoch)
);
