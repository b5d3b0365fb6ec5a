-- The same for alerts. Movements need none: whoever writes one holds its balance first (decision 0020).
ALTER TABLE inventory.alerts ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX alerts_by_transaction ON inventory.alerts (xact, raised_at);
