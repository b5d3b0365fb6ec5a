-- How much of an order has left. A new order is unshipped, so whoever writes one names nothing new.
ALTER TABLE orders.orders ADD COLUMN fulfilment text NOT NULL DEFAULT 'unshipped';

-- contract: the name is wanted for the index of the new condition
DROP INDEX orders.orders_paid;
CREATE INDEX orders_paid ON orders.orders (id)
 WHERE state = 'open' AND payment = 'paid' AND fulfilment = 'unshipped';
CREATE INDEX orders_shipped ON orders.orders (id)
 WHERE state = 'open' AND payment = 'paid' AND fulfilment IN ('part_shipped', 'shipped');
CREATE INDEX orders_completed ON orders.orders (id)
 WHERE state = 'open' AND payment = 'paid' AND fulfilment = 'delivered';
