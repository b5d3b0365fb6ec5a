-- Lists by what an order shows. None of these grows when an order is placed: a sale pays nothing for them.
CREATE INDEX orders_paid ON orders.orders (id) WHERE state = 'open' AND payment = 'paid';
CREATE INDEX orders_cancelled ON orders.orders (id) WHERE state = 'cancelled';
CREATE INDEX orders_rejected ON orders.orders (id) WHERE state = 'rejected';

-- Who sold a line, and on what terms, is part of what was placed. No event was sealed before there were sellers.
CREATE OR REPLACE FUNCTION orders.as_placed(placed orders.orders) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(concat_ws(' ',
               placed.id, placed.sale_id, placed.bucket, placed.member_id, placed.epoch, placed.key_id,
               placed.amount_minor, placed.currency, orders.microseconds(placed.placed_at),
               (SELECT string_agg(concat_ws(' ', line_no, sku_id, quantity, price_minor, seller_id, commission_bps),
                                  ' ' ORDER BY line_no)
                  FROM orders.lines WHERE order_id = placed.id),
               placed.idempotency_key), 'UTF8'))
$$;
