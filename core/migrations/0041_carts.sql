CREATE SCHEMA carts;

-- Whoever changes a cart, or buys what is in it, holds this row first.
CREATE TABLE carts.carts (
    member_id   bigint PRIMARY KEY,
    changed_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE carts.items (
    member_id  bigint NOT NULL,
    sku_id     bigint NOT NULL,
    quantity   int NOT NULL,
    added_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (member_id, sku_id),
    CONSTRAINT a_cart_holds_a_few_of_each CHECK (quantity BETWEEN 1 AND 999)
);
