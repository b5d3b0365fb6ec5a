-- What happened to an order after it was placed. The row as placed is the beginning of the log, so a new
-- order needs no second row; `version` counts its events, and `head` is the last one's digest.
CREATE TABLE orders.events (
    order_id     uuid NOT NULL,
    number       int NOT NULL,
    happened_at  timestamptz NOT NULL,
    event        json NOT NULL,
    digest       bytea NOT NULL,
    PRIMARY KEY (order_id, number),
    CONSTRAINT events_are_numbered_from_one CHECK (number >= 1),
    CONSTRAINT a_digest_is_a_sha256 CHECK (length(digest) = 32)
);

ALTER TABLE orders.orders
    ADD COLUMN payment text NOT NULL DEFAULT 'unpaid',
    ADD COLUMN version int NOT NULL DEFAULT 0,
    ADD COLUMN head bytea;

CREATE FUNCTION orders.microseconds(moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM moment) * 1000000)::bigint
$$;

-- A digest of all that an order was when it was placed. The key comes last: it may hold any character.
CREATE FUNCTION orders.as_placed(placed orders.orders) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(concat_ws(' ',
               placed.id, placed.sale_id, placed.bucket, placed.member_id, placed.epoch, placed.key_id,
               placed.amount_minor, placed.currency, orders.microseconds(placed.placed_at),
               (SELECT string_agg(concat_ws(' ', line_no, sku_id, quantity, price_minor), ' ' ORDER BY line_no)
                  FROM orders.lines WHERE order_id = placed.id),
               placed.idempotency_key), 'UTF8'))
$$;

-- A digest of an event and of everything before it.
CREATE FUNCTION orders.sealed(head bytea, number int, happened_at timestamptz, event json) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(head || convert_to(
               concat_ws(' ', number, orders.microseconds(happened_at), event), 'UTF8'))
$$;

CREATE FUNCTION orders.refuse_to_change_the_past() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was placed, and what happened to it, is only ever added to'
          USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER events_are_only_ever_added
-- contract: this refuses a truncation, and is none
BEFORE UPDATE OR DELETE OR TRUNCATE ON orders.events
FOR EACH STATEMENT EXECUTE FUNCTION orders.refuse_to_change_the_past();

CREATE TRIGGER an_order_stays_as_it_was_placed
BEFORE UPDATE OF id, sale_id, bucket, member_id, idempotency_key, epoch, key_id, amount_minor, currency, placed_at
ON orders.orders
FOR EACH STATEMENT EXECUTE FUNCTION orders.refuse_to_change_the_past();

CREATE TRIGGER a_line_stays_as_it_was_placed
BEFORE UPDATE ON orders.lines
FOR EACH STATEMENT EXECUTE FUNCTION orders.refuse_to_change_the_past();

-- Orders that were moved before there was a log get one that begins today.
WITH logged AS (
    SELECT id, 1 AS number, now() AS happened_at,
           CASE state WHEN 'paid' THEN json_build_object('type', 'paid', 'payment_id', '')
                      ELSE json_build_object('type', 'cancelled', 'reason', coalesce(reason, ''))
            END AS event
      FROM orders.orders WHERE state IN ('paid', 'cancelled')
)
INSERT INTO orders.events (order_id, number, happened_at, event, digest)
SELECT o.id, number, happened_at, event, orders.sealed(orders.as_placed(o), number, happened_at, event)
  FROM logged JOIN orders.orders o ON o.id = logged.id;

INSERT INTO orders.events (order_id, number, happened_at, event, digest)
SELECT o.id, 2, happened_at, said, orders.sealed(digest, 2, happened_at, said)
  FROM orders.orders o JOIN orders.events ON order_id = o.id,
       LATERAL (SELECT json_build_object('type', 'follows', 'order_id', follows) AS said) f
 WHERE follows IS NOT NULL;

UPDATE orders.orders o
   SET version = last.number, head = last.digest,
       payment = CASE state WHEN 'paid' THEN 'paid' ELSE 'unpaid' END
  FROM (SELECT DISTINCT ON (order_id) order_id, number, digest
          FROM orders.events ORDER BY order_id, number DESC) last
 WHERE last.order_id = o.id;

-- retires: pending_payment, paid
UPDATE orders.orders SET state = 'open' WHERE state IN ('pending_payment', 'paid');

-- contract: the name is wanted for the index of the new condition
DROP INDEX orders.orders_by_expiry;
CREATE INDEX orders_by_expiry ON orders.orders (expires_at) WHERE state = 'open' AND payment = 'unpaid';
