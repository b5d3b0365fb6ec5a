-- contract: a lease is worth nothing after a crash, so it need not outlive one
ALTER TABLE kit.leases SET UNLOGGED;

-- contract: what is due is asked for by topic, and many of one topic keep nobody from seeing another's
DROP INDEX kit.outbox_by_due;
CREATE INDEX outbox_by_topic ON kit.outbox (topic, due_at) WHERE parked_at IS NULL;
