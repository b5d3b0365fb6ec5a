INSERT INTO webhooks.cursors (source, reached, since)
VALUES ('disputes', pg_snapshot_xmin(pg_current_snapshot()), now());
