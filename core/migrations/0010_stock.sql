-- Where units are. What is ordered online ships from warehouses; a store's units are kept by name only.
CREATE TABLE inventory.places (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code    text NOT NULL,
    kind    text NOT NULL,
    name    jsonb NOT NULL,
    region  text NOT NULL,
    rank    int NOT NULL,
    CONSTRAINT a_place_code_is_unique UNIQUE (code),
    CONSTRAINT a_place_is_a_warehouse_or_a_store CHECK (kind IN ('warehouse', 'store')),
    CONSTRAINT a_place_has_a_name_per_language CHECK (jsonb_typeof(name) = 'object')
);

INSERT INTO inventory.places (code, kind, name, region, rank)
SELECT 'MAIN', 'warehouse', '{"en": "Main warehouse", "zh": "主仓库"}', '', 0;

-- What each kind of movement does to the figures of a balance: the one place that says so.
CREATE TABLE inventory.kinds (
    kind        text PRIMARY KEY,
    on_hand     smallint NOT NULL,
    reserved    smallint NOT NULL,
    allocated   smallint NOT NULL,
    in_transit  smallint NOT NULL,
    damaged     smallint NOT NULL
);

INSERT INTO inventory.kinds (kind, on_hand, reserved, allocated, in_transit, damaged)
VALUES ('receive',   1,  0,  0,  0,  0),
       ('reserve',   0,  1,  0,  0,  0),
       ('release',   0, -1,  0,  0,  0),
       ('allocate',  0, -1,  1,  0,  0),
       ('recall',    0,  1, -1,  0,  0),
       ('ship',     -1,  0, -1,  0,  0),
       ('damage',   -1,  0,  0,  0,  1),
       ('mend',      1,  0,  0,  0, -1),
       ('scrap',     0,  0,  0,  0, -1),
       ('send',     -1,  0,  0,  0,  0),
       ('expect',    0,  0,  0,  1,  0),
       ('arrive',    1,  0,  0, -1,  0),
       ('lose',      0,  0,  0, -1,  0),
       ('surplus',   1,  0,  0,  0,  0),
       ('shortage', -1,  0,  0,  0,  0);

-- on_hand = reserved + allocated + free. Damaged units, and those on their way here, are not on hand.
-- Whoever changes a balance holds all balances of its SKU.
CREATE TABLE inventory.balances (
    sku_id        bigint NOT NULL,
    place_id      bigint NOT NULL REFERENCES inventory.places,
    on_hand       bigint NOT NULL DEFAULT 0,
    reserved      bigint NOT NULL DEFAULT 0,
    allocated     bigint NOT NULL DEFAULT 0,
    in_transit    bigint NOT NULL DEFAULT 0,
    damaged       bigint NOT NULL DEFAULT 0,
    free          bigint NOT NULL GENERATED ALWAYS AS (on_hand - reserved - allocated) STORED,
    safety_stock  bigint NOT NULL DEFAULT 50,
    alerted       boolean NOT NULL DEFAULT false,
    PRIMARY KEY (sku_id, place_id),
    CONSTRAINT never_more_kept_than_on_hand CHECK (on_hand - reserved - allocated >= 0),
    CONSTRAINT reserved_is_never_negative CHECK (reserved >= 0),
    CONSTRAINT allocated_is_never_negative CHECK (allocated >= 0),
    CONSTRAINT in_transit_is_never_negative CHECK (in_transit >= 0),
    CONSTRAINT damaged_is_never_negative CHECK (damaged >= 0),
    CONSTRAINT safety_stock_is_never_negative CHECK (safety_stock >= 0)
) WITH (fillfactor = 50);

CREATE INDEX balances_by_place ON inventory.balances (place_id, sku_id);

-- Units of one SKU in one place that are kept for one purpose: a sale, an order.
CREATE TABLE inventory.reservations (
    kept_for   text NOT NULL,
    sku_id     bigint NOT NULL,
    place_id   bigint NOT NULL,
    reserved   bigint NOT NULL,
    allocated  bigint NOT NULL DEFAULT 0,
    shipped    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (kept_for, sku_id, place_id),
    CONSTRAINT reserved_is_never_negative CHECK (reserved >= 0),
    CONSTRAINT allocated_is_never_negative CHECK (allocated >= 0),
    CONSTRAINT shipped_is_never_negative CHECK (shipped >= 0)
);

CREATE INDEX reservations_by_balance ON inventory.reservations (sku_id, place_id)
 WHERE reserved + allocated > 0;

-- The old table held one signed row per change; its balances become the new one's first movements.
-- contract: nothing has read it since this version
ALTER TABLE inventory.movements RENAME TO old_movements;
-- contract: the name is wanted for the index of the new table
DROP INDEX inventory.movements_by_sku;

-- Every change of a balance, and nothing else changes one. A reference does each kind of thing once.
CREATE TABLE inventory.movements (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL REFERENCES inventory.kinds,
    sku_id     bigint NOT NULL,
    place_id   bigint NOT NULL,
    quantity   bigint NOT NULL,
    reference  text NOT NULL,
    line_no    int NOT NULL,
    kept_for   text,
    by_whom    text NOT NULL,
    moved_at   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (sku_id, place_id) REFERENCES inventory.balances,
    CONSTRAINT a_movement_moves_something CHECK (quantity > 0),
    CONSTRAINT a_reference_does_a_thing_once UNIQUE (reference, kind, line_no)
);

CREATE INDEX movements_by_sku ON inventory.movements (sku_id, id);

INSERT INTO inventory.balances (sku_id, place_id, on_hand, reserved)
SELECT sku_id, 1, stock.on_hand + coalesce(drawn.quantity, 0), coalesce(drawn.quantity, 0)
  FROM inventory.stock
  LEFT JOIN (SELECT sku_id, -sum(quantity)::bigint AS quantity FROM inventory.old_movements
              WHERE reason IN ('sale', 'sale-closed') GROUP BY 1) AS drawn USING (sku_id);

INSERT INTO inventory.reservations (kept_for, sku_id, place_id, reserved)
SELECT 'sale:' || reference, sku_id, 1, -sum(quantity) FROM inventory.old_movements
 WHERE reason IN ('sale', 'sale-closed') GROUP BY reference, sku_id HAVING sum(quantity) < 0;

INSERT INTO inventory.movements (kind, sku_id, place_id, quantity, reference, line_no, by_whom)
SELECT 'receive', sku_id, place_id, on_hand, 'opening balance', row_number() OVER (), 'migration'
  FROM inventory.balances WHERE on_hand > 0;

INSERT INTO inventory.movements (kind, sku_id, place_id, quantity, reference, line_no, kept_for, by_whom)
SELECT 'reserve', sku_id, place_id, reserved, kept_for, row_number() OVER (), kept_for, 'migration'
  FROM inventory.reservations;

-- contract: nothing has read it since this version
DROP TABLE inventory.old_movements;
-- contract: nothing has read it since this version
DROP TABLE inventory.stock;

CREATE FUNCTION inventory.refuse_to_change_the_past() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'movements are only ever added' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER movements_are_only_ever_added
-- contract: this refuses a truncation, and is none
BEFORE UPDATE OR DELETE OR TRUNCATE ON inventory.movements
FOR EACH STATEMENT EXECUTE FUNCTION inventory.refuse_to_change_the_past();

-- One for each time that what is free falls to the safety stock; cleared when it rises above it again.
CREATE TABLE inventory.alerts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku_id        bigint NOT NULL,
    place_id      bigint NOT NULL,
    free          bigint NOT NULL,
    safety_stock  bigint NOT NULL,
    raised_at     timestamptz NOT NULL DEFAULT now(),
    cleared_at    timestamptz,
    FOREIGN KEY (sku_id, place_id) REFERENCES inventory.balances
);

CREATE UNIQUE INDEX an_alert_stays_open_once ON inventory.alerts (sku_id, place_id)
 WHERE cleared_at IS NULL;

CREATE TABLE inventory.transfers (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id   bigint NOT NULL REFERENCES inventory.places,
    target_id   bigint NOT NULL REFERENCES inventory.places,
    state       text NOT NULL,
    by_whom     text NOT NULL,
    planned_at  timestamptz NOT NULL DEFAULT now(),
    sent_at     timestamptz,
    ended_at    timestamptz,
    CONSTRAINT a_transfer_leads_elsewhere CHECK (source_id <> target_id)
);

-- `arrived` is known once the transfer has ended; what did not arrive is lost.
CREATE TABLE inventory.transfer_lines (
    transfer_id  bigint NOT NULL REFERENCES inventory.transfers,
    sku_id       bigint NOT NULL,
    quantity     bigint NOT NULL,
    arrived      bigint,
    PRIMARY KEY (transfer_id, sku_id),
    CONSTRAINT a_line_has_units CHECK (quantity > 0),
    CONSTRAINT no_more_arrives_than_was_sent CHECK (arrived BETWEEN 0 AND quantity)
);
