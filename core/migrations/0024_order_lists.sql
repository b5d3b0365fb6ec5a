-- Lists by what an order shows. None of these grows when an order is placed: a sale pays nothing for them.
CREATE INDEX orders_paid ON orders.orders (id) WHERE state = 'open' AND payment = 'paid';
CREATE INDEX orders_cancelled ON orders.orders (id) WHERE state = 'cancelled';
CREATE INDEX orders_rejected ON orders.orders (id) WHERE state = 'rejected';
