-- How many after-sale cases of an order are open. A new order has none, so whoever writes one names nothing new.
ALTER TABLE orders.orders
    ADD COLUMN open_cases int NOT NULL DEFAULT 0,
    ADD CONSTRAINT cases_are_closed_once CHECK (open_cases >= 0);

CREATE INDEX orders_with_open_cases ON orders.orders (id) WHERE open_cases > 0;
