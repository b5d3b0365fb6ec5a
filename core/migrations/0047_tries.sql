-- How often in a row the next step of an import has come to no good end: those that go well go first.
ALTER TABLE sheets.imports ADD COLUMN tries int NOT NULL DEFAULT 0;
