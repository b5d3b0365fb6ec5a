CREATE SCHEMA inventory;

CREATE TABLE inventory.stock (
    sku_id   bigint PRIMARY KEY,
    on_hand  bigint NOT NULL,
    CONSTRAINT stock_is_never_negative CHECK (on_hand >= 0)
);

-- Every change of a stock figure, so that a balance can be proved from its rows.
CREATE TABLE inventory.movements (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku_id     bigint NOT NULL REFERENCES inventory.stock,
    quantity   bigint NOT NULL,
    reason     text NOT NULL,
    reference  text NOT NULL,
    moved_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_movement_moves_something CHECK (quantity <> 0)
);

CREATE INDEX movements_by_sku ON inventory.movements (sku_id, id);
