CREATE SCHEMA feeds;

-- What an outside system (a warehouse's own, an ERP) tells about a place, and how long it may be silent.
CREATE TABLE feeds.feeds (
    system        text NOT NULL,
    place_id      bigint NOT NULL,
    silent_max_s  int,
    opened_at     timestamptz NOT NULL DEFAULT now(),
    closed_at     timestamptz,
    heard_at      timestamptz,
    told          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (system, place_id),
    CONSTRAINT a_promise_lasts_some_time CHECK (silent_max_s > 0)
);

-- Each message once: applied in the transaction that writes it here, or refused, with the reason why.
CREATE TABLE feeds.messages (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system      text NOT NULL,
    reference   text NOT NULL,
    place_id    bigint NOT NULL,
    kind        text NOT NULL,
    digest      bytea NOT NULL,
    reason      text,
    heard_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_system_tells_a_thing_once UNIQUE (system, reference)
);

CREATE INDEX messages_refused ON feeds.messages (id) WHERE reason IS NOT NULL;

-- What a system says stands in a place, held against the books.
CREATE TABLE feeds.snapshots (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system       text NOT NULL,
    reference    text NOT NULL,
    place_id     bigint NOT NULL,
    skus         bigint NOT NULL,
    differing    bigint NOT NULL,
    compared_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_snapshot_is_compared_once UNIQUE (system, reference)
);

-- `expected` is nothing where the catalogue does not know the code; a count sees to the others.
CREATE TABLE feeds.differences (
    snapshot_id  bigint NOT NULL REFERENCES feeds.snapshots,
    sku_code     text NOT NULL,
    expected     bigint,
    counted      bigint NOT NULL,
    count_id     bigint,
    PRIMARY KEY (snapshot_id, sku_code)
);
