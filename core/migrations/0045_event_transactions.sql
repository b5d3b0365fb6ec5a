-- Which transaction wrote a row: who reads on from there misses no late commit (decision 0021). A sale's orders
-- bear none: those of a bucket commit in the order of their ids.
ALTER TABLE orders.events ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX events_by_transaction ON orders.events (xact, happened_at);

ALTER TABLE orders.agreements
    ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD COLUMN agreed_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX agreements_by_transaction ON orders.agreements (xact, agreed_at);
