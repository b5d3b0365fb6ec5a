-- contract: an order's id says its position (hotpath.ids), so nothing reads the column any more
ALTER TABLE orders.orders DROP COLUMN position;

-- contract: an order and its lines are written by one statement or one transaction, and neither is ever deleted
ALTER TABLE orders.lines DROP CONSTRAINT lines_order_id_fkey;
