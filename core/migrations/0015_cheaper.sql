-- contract: whoever names the order that is followed looks whether it is there; a foreign key asks for every order
ALTER TABLE orders.orders DROP CONSTRAINT orders_follows_fkey;

-- contract: keys are ASCII, so they stay the same keys; compared as bytes they take a fraction of most locales' time
ALTER TABLE orders.orders ALTER COLUMN idempotency_key TYPE text COLLATE "C";
