-- What the ledger knows of a seller. Who posts to what a seller is owed holds this row shared; who draws a
-- line under it holds it alone.
CREATE TABLE ledger.sellers (
    id              bigint PRIMARY KEY,
    commission_bps  smallint NOT NULL,
    CONSTRAINT a_commission_is_part_of_the_price CHECK (commission_bps BETWEEN 0 AND 10000)
);

-- The shop's own goods: it pays itself no commission.
INSERT INTO ledger.sellers (id, commission_bps) VALUES (1, 0);

-- The money that is held for an order. Whoever changes its shares holds this row.
CREATE TABLE ledger.holds (
    order_id  text COLLATE "C" PRIMARY KEY,
    channel   text NOT NULL,
    currency  char(3) NOT NULL,
    state     text NOT NULL,
    held_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX holds_by_age ON ledger.holds (held_at) WHERE state = 'held';

-- Whose each part of it is once it is released, less the commission. `returned_minor` went back or was
-- charged back, and the same part of the commission with it.
CREATE TABLE ledger.shares (
    order_id          text COLLATE "C" NOT NULL REFERENCES ledger.holds,
    line_no           smallint NOT NULL,
    account           text NOT NULL,
    owner             text COLLATE "C" NOT NULL,
    amount_minor      bigint NOT NULL,
    commission_minor  bigint NOT NULL,
    returned_minor    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, line_no),
    CONSTRAINT a_commission_is_part_of_its_share CHECK (commission_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT no_more_returns_than_there_is CHECK (returned_minor BETWEEN 0 AND amount_minor)
);
