-- Which transaction wrote an entry: who reads on from there misses no late commit (decision 0021).
ALTER TABLE ledger.entries ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX entries_by_transaction ON ledger.entries (xact, posted_at);
