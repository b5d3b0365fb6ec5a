-- So many orders (setting `lists.orders`) and what a shop writes beside them, made set by set. Nothing is random: every
-- choice is a hash of the order's number. What is rare is old, so that whoever walks from the newest down passes by all.

-- step: sales
-- Four at a time, 50 times, in the days that the ids of their orders tell.
INSERT INTO sales.sales (name, state, starts_at, ends_at, hold_s, shadow, settled_at)
SELECT 'Sale ' || n, 'closed', starts_at, starts_at + current_setting('lists.orders')::int / 50 * interval '1 s', 900,
       false, now()
  FROM generate_series(1, 200) AS n,
       LATERAL (SELECT to_timestamp(1700000000 + (n - 1) / 4 * (current_setting('lists.orders')::int / 50))) AS s (starts_at);

INSERT INTO inventory.places (code, kind, name, region, rank)
SELECT 'P-' || n, CASE WHEN n < 3 THEN 'warehouse' ELSE 'store' END, jsonb_build_object('en', 'Place ' || n), '', n
  FROM generate_series(2, 4) AS n;

-- step: goods
INSERT INTO catalogue.products (id, code, state, title, description, images) OVERRIDING SYSTEM VALUE
VALUES (1, 'SPU-1', 'draft', '{"en": "Cup"}', '{}', '{}');
INSERT INTO catalogue.skus (id, product_id, code, currency, attributes) OVERRIDING SYSTEM VALUE
SELECT n, 1, 'SKU-' || n, 'CNY', '{}' FROM generate_series(1, 1000) AS n;

-- step: orders
-- Ids as the shop makes them, a second apart: milliseconds in front, an ordinary order's epoch is 0. One in a hundred is of
-- one member; four of five are of a sale.
CREATE TABLE public.made AS
SELECT n, (lpad(to_hex((1700000000000 + n * 1000) << 6), 12, '0')
           || '8' || lpad(to_hex(n & 4095), 3, '0') || '8'
           || lpad(to_hex((n << 28) + (n % 5) * 1048576), 15, '0'))::uuid AS id,
       CASE WHEN n % 101 = 0 THEN 7 ELSE 1000 + (hashint8extended(n, 1) & 2147483647) % 50000 END AS member_id,
       CASE WHEN n % 5 > 0 THEN 1 + (n - 1) * 50 / size * 4 + n % 4 END AS sale_id,
       n % 5 = 0 AS is_ordinary,
       CASE WHEN n > size - size / 500 THEN -1 ELSE (hashint8extended(n, 2) & 2147483647) % 1000 END AS fate,
       now() - (size - n) * (interval '89 days' / size) AS at
  FROM (SELECT current_setting('lists.orders')::bigint) AS s (size), generate_series(1::bigint, size) AS n;

-- The newest wait to be paid; of the others, some were not, most have arrived, and few of those have an open case.
INSERT INTO orders.orders (id, sale_id, bucket, epoch, key_id, member_id, idempotency_key, state, payment, fulfilment,
                           reason, amount_minor, currency, shipping_minor, shipping_tax_minor,
                           shipping_included_tax_minor, asked, placed_at, expires_at, open_cases)
SELECT id, sale_id, sale_id, CASE WHEN NOT is_ordinary THEN 1 END, CASE WHEN NOT is_ordinary THEN 1 END, member_id,
       n::text, CASE WHEN fate < 0 OR fate >= 60 THEN 'open' WHEN fate < 2 THEN 'rejected' ELSE 'cancelled' END,
       CASE WHEN fate < 60 THEN 'unpaid' ELSE 'paid' END,
       CASE WHEN fate < 80 THEN 'unshipped' WHEN fate < 120 THEN 'shipped' ELSE 'delivered' END,
       CASE WHEN fate BETWEEN 0 AND 59 THEN 'expired' END, 9900, 'CNY', CASE WHEN is_ordinary THEN 0 END,
       CASE WHEN is_ordinary THEN 0 END, CASE WHEN is_ordinary THEN 0 END, CASE WHEN is_ordinary THEN sha256('') END,
       at, at + interval '15 min' + CASE WHEN fate < 0 THEN interval '2 days' ELSE '0' END,
       CASE WHEN fate = 500 THEN 1 ELSE 0 END
  FROM public.made ORDER BY made.n;

INSERT INTO orders.lines (order_id, line_no, sku_id, quantity, price_minor, discount_minor, tax_minor, included_tax_minor)
SELECT id, line_no, 1 + (n + line_no) % 1000, 1, 3300, 0, 0, 0
  FROM public.made, generate_series(1, CASE WHEN is_ordinary THEN 3 ELSE 1 END) AS line_no
 ORDER BY made.n, line_no;

-- step: consignments
-- A cart goes in two parts. One in a hundred leaves from a store, and only old ones from the other store.
INSERT INTO fulfilment.consignments (id, state, seller_id, place_id, member_id, currency, carrier, tracking, planned_at,
                                     allocated_at, shipped_at, shipped_by, delivered_at, delivered_by, cancelled_at)
OVERRIDING SYSTEM VALUE
SELECT n * 2 + part, state, 1, CASE WHEN n <= 1000 THEN 4 WHEN n % 100 = 0 THEN 3 ELSE 1 + n % 2 END, member_id, 'CNY',
       CASE WHEN has_left THEN 'SF' END, CASE WHEN has_left THEN 'T' || n END, at,
       CASE WHEN state <> 'planned' THEN at END, CASE WHEN has_left THEN at END, CASE WHEN has_left THEN 'staff' END,
       CASE WHEN state = 'delivered' THEN at END, CASE WHEN state = 'delivered' THEN 'staff' END,
       CASE WHEN state = 'cancelled' THEN at END
  FROM public.made, generate_series(0, CASE WHEN is_ordinary THEN 1 ELSE 0 END) AS part,
       LATERAL (SELECT CASE WHEN n <= 500 OR fate BETWEEN 60 AND 61 THEN 'planned' WHEN fate < 80 THEN 'allocated'
                            WHEN fate < 120 THEN 'shipped' WHEN fate < 122 THEN 'cancelled' ELSE 'delivered' END) AS s (state),
       LATERAL (SELECT state IN ('shipped', 'delivered')) AS l (has_left)
 WHERE fate >= 60 ORDER BY made.n;

INSERT INTO fulfilment.lines (consignment_id, order_id, line_no, sku_id, kept_for, quantity, goods_minor, discount_minor,
                              tax_minor, shipping_minor)
SELECT n * 2 + line_no / 3, id, line_no, 1 + (n + line_no) % 1000, 'orders', 1, 3300, 0, 0, 0
  FROM public.made, generate_series(1, CASE WHEN is_ordinary THEN 3 ELSE 1 END) AS line_no
 WHERE fate >= 60 ORDER BY made.n, line_no;

-- step: lead times
INSERT INTO fulfilment.leads (order_id, paid_at, planned_at, shipped_at, delivered_at)
SELECT id, at, at, CASE WHEN fate >= 80 THEN at + took END, CASE WHEN fate >= 120 THEN at + 2 * took END
  FROM public.made, LATERAL (SELECT (hashint8extended(n, 3) & 2147483647) % 80000 * interval '1 s') AS t (took)
 WHERE fate >= 60 ORDER BY made.n;
INSERT INTO fulfilment.lead_days (kind, day, band, orders)
SELECT kind, (ended_at AT TIME ZONE 'UTC')::date, band, count(*) FROM fulfilment.ends, fulfilment.summed
 WHERE ended_at < upto GROUP BY 1, 2, 3;

-- step: payments and refunds
INSERT INTO payments.payments (id, first_order_id, order_id, member_id, channel, amount_minor, currency, state,
                               captured_minor, captured_currency, started_at, captured_at, expires_at)
SELECT id, id, id, member_id, 'alipay', 9900, 'CNY', 'captured', 9900, 'CNY', at, at, at FROM public.made WHERE fate >= 60;

INSERT INTO payments.refunds (id, payment_id, order_id, amount_minor, reason, state, asked_at, paid_at)
SELECT gen_random_uuid(), id, id, 100, 'after-sale', 'paid', at, at FROM public.made WHERE fate >= 900;

-- step: after-sale cases
-- One an order; those that are agreed or on their way are the oldest.
INSERT INTO aftersale.cases (order_id, line_no, member_id, seller_id, sku_id, kind, quantity, wanted_minor, currency,
                             state, reason, refund_id, refunded_minor, follow_up, key, asked_at)
SELECT id, 1, member_id, 1, 1 + n % 1000, 'return', 1, 0, 'CNY', state, 'broken', CASE WHEN state = 'refunded' THEN id END,
       CASE WHEN state = 'refunded' THEN 100 ELSE 0 END, CASE WHEN state = 'replaced' THEN id END, 'key', at
  FROM public.made,
       LATERAL (SELECT CASE WHEN n < 1000 THEN 'agreed' WHEN n < 1050 THEN 'on_its_way' WHEN fate < 0 THEN 'asked'
                            WHEN fate < 100 THEN 'refused' WHEN fate < 200 THEN 'withdrawn' WHEN fate < 300 THEN 'replaced'
                            ELSE 'refunded' END) AS s (state)
 ORDER BY made.n;

-- step: disputes
INSERT INTO disputes.disputes (channel, provider_ref, payment_id, order_id, state, stage, reason, amount_minor, currency,
                               is_our_turn, told_at, opened_at, ended_at, look_at)
SELECT 'paypal', n::text, id, id, state, 'chargeback', 'fraud', 9900, 'CNY', false, at, at,
       CASE WHEN state <> 'open' THEN at END, at
  FROM public.made, LATERAL (SELECT CASE WHEN n < 1000 THEN 'open' WHEN n < 2000 THEN 'won' ELSE 'lost' END) AS d (state)
 ORDER BY made.n;

-- step: the ledger
-- A capture an order, and a release of one in five, to one of a thousand sellers; half of it to the second one.
INSERT INTO ledger.entries (id, kind, reference, posted_at) OVERRIDING SYSTEM VALUE
SELECT n * 2, 'capture', id::text, at FROM public.made
 UNION ALL
SELECT n * 2 + 1, 'release', id::text, at FROM public.made WHERE is_ordinary;

INSERT INTO ledger.postings (entry_id, line_no, account, owner, currency, amount_minor)
SELECT n * 2, line_no, account, owner, 'CNY', amount
  FROM public.made, LATERAL (VALUES (1, 'provider_clearing', 'alipay', 9900), (2, 'escrow', id::text, -9900))
       AS p (line_no, account, owner, amount)
 UNION ALL
SELECT n * 2 + 1, line_no, account, owner, 'CNY', amount
  FROM public.made, LATERAL (VALUES (1, 'escrow', id::text, 9900),
       (2, 'seller_payable', CASE WHEN n % 2 = 0 THEN 2 ELSE 3 + n / 2 % 999 END::text, -9900)) AS p (line_no, account, owner, amount)
 WHERE is_ordinary;

-- Settled every day for a year.
INSERT INTO ledger.sellers (id, commission_bps) SELECT n, 500 FROM generate_series(2, 1001) AS n;
INSERT INTO ledger.runs (reference, state, ended_at) SELECT 'day ' || n, 'closed', now() FROM generate_series(1, 365) AS n;
INSERT INTO ledger.statements (run_id, seller_id, currency, after_entry, upto_entry, opening_minor, moved_minor, closing_minor)
SELECT run, seller, 'CNY', (run - 1) * size / 365 * 2, run * size / 365 * 2, 0, 9900, 9900
  FROM (SELECT current_setting('lists.orders')::bigint) AS s (size), generate_series(1, 365) AS run, generate_series(2, 1000) AS seller;
INSERT INTO ledger.payouts (run_id, seller_id, currency, amount_minor, state, ended_at)
SELECT run_id, seller_id, currency, closing_minor, CASE WHEN id < 100 THEN 'sent' ELSE 'paid' END, now()
  FROM ledger.statements ORDER BY statements.id;
INSERT INTO ledger.balances (account, owner, currency, amount_minor)
SELECT account, CASE WHEN account = 'escrow' THEN '' ELSE owner END, currency, sum(amount_minor)
  FROM ledger.postings GROUP BY 1, 2, 3;

-- step: statements of providers
-- One a day of two channels, for two years; half of the differences are of the newest.
INSERT INTO reconciliation.statements (channel, day, source, line_count)
SELECT channel, current_date - day, 'api', 1000
  FROM generate_series(730, 1, -1) AS day, (VALUES ('alipay'), ('paypal')) AS c (channel) ORDER BY day DESC, channel;
INSERT INTO reconciliation.differences (statement_id, what, kind, reference, line_id, there_minor, here_minor, currency, state,
                                        note, ended_by, ended_at)
SELECT CASE WHEN n % 2 = 0 THEN 1460 ELSE 1 + n * 1459 / size END, 'missing_here', 'capture', id::text, '', 9900, 0, 'CNY', state,
       CASE WHEN state = 'resolved' THEN 'seen' END, CASE WHEN state = 'resolved' THEN 'staff' END,
       CASE WHEN state <> 'open' THEN now() END
  FROM (SELECT current_setting('lists.orders')::bigint) AS s (size), public.made,
       LATERAL (SELECT CASE WHEN n < 1000 THEN 'resolved' WHEN n % 100 = 0 THEN 'open' ELSE 'gone' END) AS d (state)
 ORDER BY made.n;

-- step: notes of staff
-- One object has seen a thousand changes.
INSERT INTO staff.people (name, roles) VALUES ('wms', '{system}');
INSERT INTO staff.notes (id, noted_at, by_whom, permission, action, kind, object_id, change, request_id, key_id, seal)
SELECT n, at, CASE WHEN n < 100 THEN 'rare' ELSE 'staff' || n % 5 END, 'orders:write', 'POST /v1/admin/orders', 'order',
       CASE WHEN n % 1000 = 0 THEN 'common' ELSE n::text END, '{}', '', 1, '' FROM public.made ORDER BY made.n;

-- step: feeds
INSERT INTO feeds.feeds (system, place_id) VALUES ('wms', 3);
INSERT INTO feeds.messages (system, reference, place_id, kind, digest, reason, heard_at)
SELECT 'wms', n::text, 3, 'ship', '', CASE WHEN n % 50000 = 0 THEN 'refused' END, at FROM public.made ORDER BY made.n;
INSERT INTO feeds.snapshots (system, reference, place_id, skus, differing)
SELECT 'wms', n::text, 3, 1000, 0 FROM generate_series(1, 20000) AS n;

-- step: webhooks
-- Of the first subscription nearly all is delivered, of the second nothing is, and the third one rests.
INSERT INTO webhooks.subscriptions (url, kinds, state)
SELECT 'https://example.com/' || n, '{order.placed}', 'paused' FROM generate_series(1, 3) AS n;
INSERT INTO webhooks.messages (id, kind, happened_at, told_at, body)
SELECT id::text, 'order.placed', at, at, '{}' FROM public.made ORDER BY made.n;
INSERT INTO webhooks.deliveries (subscription_id, message_id, state, attempts, due_at, begun_at, ended_at)
SELECT subscription, id::text, state, 1, at, at, CASE WHEN state <> 'pending' THEN at END
  FROM public.made, LATERAL (SELECT CASE WHEN n % 10 < 6 THEN 1 WHEN n % 10 < 8 THEN 2 ELSE 3 END) AS s (subscription),
       LATERAL (SELECT CASE WHEN n < 1000 THEN 'pending' WHEN n < 2000 THEN 'given_up' WHEN n < 3000 THEN 'delivered'
                            ELSE (ARRAY['delivered', 'given_up', 'pending'])[subscription] END) AS d (state)
 ORDER BY made.n;

-- step: clean
DROP TABLE public.made;
