-- An order whose money is held shows `paid`.
-- contract: the name is wanted for the index of the wider condition
DROP INDEX orders.orders_paid;
CREATE INDEX orders_paid ON orders.orders (id)
 WHERE state = 'open' AND payment IN ('authorized', 'paid') AND fulfilment = 'unshipped';
