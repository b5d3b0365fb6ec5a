-- Movements are told up to `reached`, a number of theirs; up to `seen_id` once all transactions below `seen_xact`
-- have ended.
ALTER TABLE webhooks.cursors ADD COLUMN seen_id bigint, ADD COLUMN seen_xact bigint;

INSERT INTO webhooks.cursors (source, reached, since)
SELECT unnest('{money,movements,alerts,milestones}'::text[]), pg_snapshot_xmin(pg_current_snapshot()), now();
