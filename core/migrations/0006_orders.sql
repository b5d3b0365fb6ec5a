CREATE SCHEMA orders;

CREATE TABLE orders.orders (
    id               uuid PRIMARY KEY,
    sale_id          bigint NOT NULL,
    bucket           int NOT NULL,
    member_id        bigint NOT NULL,
    idempotency_key  text NOT NULL,
    epoch            smallint NOT NULL,
    position         text NOT NULL,
    key_id           smallint NOT NULL,
    state            text NOT NULL,
    reason           text,
    amount_minor     bigint NOT NULL,
    currency         char(3) NOT NULL,
    follows          uuid REFERENCES orders.orders,
    placed_at        timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    CONSTRAINT a_key_is_short CHECK (length(idempotency_key) BETWEEN 1 AND 128),
    CONSTRAINT one_key_one_effect UNIQUE (sale_id, member_id, idempotency_key),
    CONSTRAINT an_amount_is_not_negative CHECK (amount_minor >= 0),
    CONSTRAINT only_an_ended_order_has_a_reason CHECK (reason IS NULL OR state IN ('cancelled', 'rejected'))
);

CREATE INDEX orders_by_bucket ON orders.orders (bucket, id);
CREATE INDEX orders_by_expiry ON orders.orders (expires_at) WHERE state = 'pending_payment';
CREATE UNIQUE INDEX an_order_is_followed_once ON orders.orders (follows) WHERE follows IS NOT NULL;

CREATE TABLE orders.lines (
    order_id     uuid NOT NULL REFERENCES orders.orders,
    line_no      smallint NOT NULL,
    sku_id       bigint NOT NULL,
    quantity     int NOT NULL,
    price_minor  bigint NOT NULL,
    PRIMARY KEY (order_id, line_no),
    CONSTRAINT a_line_has_units CHECK (quantity > 0),
    CONSTRAINT a_price_is_not_negative CHECK (price_minor >= 0)
);
