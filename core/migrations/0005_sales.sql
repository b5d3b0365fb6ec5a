CREATE SCHEMA sales;

CREATE TABLE sales.sales (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    state       text NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    hold_s      int NOT NULL,
    shadow      boolean NOT NULL,
    settled_at  timestamptz,
    CONSTRAINT a_sale_ends_after_it_starts CHECK (ends_at > starts_at),
    CONSTRAINT a_hold_lasts_between_a_second_and_a_week CHECK (hold_s BETWEEN 1 AND 604800),
    CONSTRAINT only_a_closed_sale_is_settled CHECK (settled_at IS NULL OR state IN ('closed', 'retired'))
);

CREATE INDEX sales_by_state ON sales.sales (state);

CREATE TABLE sales.items (
    sale_id       bigint NOT NULL REFERENCES sales.sales,
    sku_id        bigint NOT NULL,
    price_minor   bigint NOT NULL,
    currency      char(3) NOT NULL,
    member_limit  int NOT NULL,
    quota         bigint NOT NULL,
    PRIMARY KEY (sale_id, sku_id),
    CONSTRAINT a_price_is_not_negative CHECK (price_minor >= 0),
    CONSTRAINT a_limit_is_between_one_and_a_million CHECK (member_limit BETWEEN 1 AND 1000000),
    CONSTRAINT a_quota_is_between_one_and_a_trillion CHECK (quota BETWEEN 1 AND 1000000000000)
);

-- A bucket is the part of a sale that one Redis script call can decide. Its number is its hash tag.
-- Whoever changes a bucket's books holds this row FOR SHARE; whoever recomputes them holds it FOR UPDATE.
CREATE TABLE sales.buckets (
    number        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id       bigint NOT NULL REFERENCES sales.sales,
    position      smallint NOT NULL,
    epoch         smallint NOT NULL,
    token         text NOT NULL,
    run_id        text,
    fence_reason  text,
    seen          text NOT NULL DEFAULT '0-0',
    CONSTRAINT a_sale_has_one_bucket_per_position UNIQUE (sale_id, position),
    CONSTRAINT a_bucket_number_fits_an_order_id CHECK (number < 4194304),
    CONSTRAINT an_epoch_fits_an_order_id CHECK (epoch BETWEEN 1 AND 255)
);

-- quota = left + undrained + sold + (released - given back in Redis) + dead. See core.flows.audit_sale.
CREATE TABLE sales.allotments (
    bucket    int NOT NULL REFERENCES sales.buckets,
    sku_id    bigint NOT NULL,
    quota     bigint NOT NULL,
    sold      bigint NOT NULL DEFAULT 0,
    released  bigint NOT NULL DEFAULT 0,
    dead      bigint NOT NULL DEFAULT 0,
    returned  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, sku_id),
    CONSTRAINT never_oversold CHECK (sold BETWEEN 0 AND quota),
    CONSTRAINT never_more_returned_than_unsold CHECK (returned BETWEEN 0 AND quota - sold - dead),
    CONSTRAINT released_is_not_negative CHECK (released >= 0),
    CONSTRAINT dead_is_not_negative CHECK (dead >= 0)
);

-- How far each epoch of a bucket's stream has been written down. An ended epoch's cursor is where it ended.
CREATE TABLE sales.cursors (
    bucket    int NOT NULL REFERENCES sales.buckets,
    epoch     smallint NOT NULL,
    position  text NOT NULL,
    ended     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bucket, epoch)
);

-- Claims that nobody can read with certainty. A person decides what becomes of each.
CREATE TABLE sales.dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket      int NOT NULL REFERENCES sales.buckets,
    epoch       smallint NOT NULL,
    position    text NOT NULL,
    record      bytea NOT NULL,
    reason      text NOT NULL,
    sku_id      bigint,
    member_id   bigint,
    quantity    bigint NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT now(),
    decided_at  timestamptz,
    decision    text,
    CONSTRAINT a_claim_dies_once UNIQUE (bucket, epoch, position)
);

-- The auditor's last word on each sale.
CREATE TABLE sales.audits (
    sale_id    bigint PRIMARY KEY REFERENCES sales.sales,
    audited_at timestamptz NOT NULL DEFAULT now(),
    drift      bigint NOT NULL,
    backlog    bigint NOT NULL,
    problem    text
);
