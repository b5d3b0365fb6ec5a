-- Claims up to the cursor, whatever became of them: with those above it they are all that Redis accepted.
ALTER TABLE sales.cursors ADD COLUMN written bigint NOT NULL DEFAULT 0;
