-- An ordinary order: of a cart and of no flash sale, with one line or many. What only it has is NULL in a
-- sale's orders, whose rows stay as small as they were.
ALTER TABLE orders.orders
    -- contract: code that reads no ordinary orders writes none; it is stopped before one is placed
    ALTER COLUMN sale_id DROP NOT NULL, ALTER COLUMN bucket DROP NOT NULL,
    -- contract: for the same reason
    ALTER COLUMN epoch DROP NOT NULL, ALTER COLUMN key_id DROP NOT NULL,
    ADD COLUMN shipping_minor bigint,
    ADD COLUMN shipping_tax_minor bigint,
    ADD COLUMN shipping_included_tax_minor bigint,
    ADD COLUMN asked bytea,
    ADD CONSTRAINT an_order_is_of_a_sale_or_ordinary CHECK (
        CASE WHEN sale_id IS NULL
             THEN num_nonnulls(bucket, epoch, key_id) = 0
                  AND num_nulls(shipping_minor, shipping_tax_minor, shipping_included_tax_minor, asked) = 0
             ELSE num_nulls(bucket, epoch, key_id) = 0
                  AND num_nonnulls(shipping_minor, shipping_tax_minor, shipping_included_tax_minor, asked) = 0
        END),
    ADD CONSTRAINT nothing_of_shipping_is_below_zero CHECK (
        least(shipping_minor, shipping_tax_minor, shipping_included_tax_minor) >= 0),
    ADD CONSTRAINT what_was_asked_is_a_sha256 CHECK (length(asked) = 32);

-- Neither grows when a sale's order is placed.
CREATE UNIQUE INDEX one_key_one_ordinary_order ON orders.orders (member_id, idempotency_key) WHERE sale_id IS NULL;
CREATE INDEX ordinary_orders_by_member ON orders.orders (member_id, id) WHERE sale_id IS NULL;

-- `tax_minor` is added to a line's price, `included_tax_minor` stands in it already.
ALTER TABLE orders.lines
    ADD COLUMN discount_minor bigint,
    ADD COLUMN tax_minor bigint,
    ADD COLUMN included_tax_minor bigint,
    ADD CONSTRAINT a_discount_is_part_of_the_price CHECK (discount_minor BETWEEN 0 AND quantity * price_minor),
    ADD CONSTRAINT no_tax_is_below_zero CHECK (least(tax_minor, included_tax_minor) >= 0);

-- What was agreed on when an ordinary order was placed: where it goes, and how its price came about.
CREATE TABLE orders.agreements (
    order_id  uuid PRIMARY KEY,
    address   jsonb NOT NULL,
    steps     jsonb NOT NULL
);

-- What is NULL is left out, so the digests of a sale's orders are what they were.
CREATE OR REPLACE FUNCTION orders.as_placed(placed orders.orders) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(concat_ws(' ',
               placed.id, placed.sale_id, placed.bucket, placed.member_id, placed.epoch, placed.key_id,
               placed.amount_minor, placed.currency, orders.microseconds(placed.placed_at),
               placed.shipping_minor, placed.shipping_tax_minor, placed.shipping_included_tax_minor,
               encode(placed.asked, 'hex'),
               (SELECT string_agg(concat_ws(' ', line_no, sku_id, quantity, price_minor, seller_id, commission_bps,
                                            discount_minor, tax_minor, included_tax_minor),
                                  ' ' ORDER BY line_no)
                  FROM orders.lines WHERE order_id = placed.id),
               placed.idempotency_key), 'UTF8'))
$$;

-- contract: the trigger below refuses all that this one did, and more
DROP TRIGGER an_order_stays_as_it_was_placed ON orders.orders;
CREATE TRIGGER an_order_stays_as_it_was_placed
BEFORE UPDATE OF id, sale_id, bucket, member_id, idempotency_key, epoch, key_id, amount_minor, currency, placed_at,
                 shipping_minor, shipping_tax_minor, shipping_included_tax_minor, asked
ON orders.orders
FOR EACH STATEMENT EXECUTE FUNCTION orders.refuse_to_change_the_past();
