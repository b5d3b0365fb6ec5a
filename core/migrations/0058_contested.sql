-- How many after-sale cases of the order are open: while one is, nobody is paid by the lapse of time.
ALTER TABLE ledger.holds
    ADD COLUMN contested int NOT NULL DEFAULT 0,
    ADD CONSTRAINT no_fewer_than_no_cases CHECK (contested >= 0);
