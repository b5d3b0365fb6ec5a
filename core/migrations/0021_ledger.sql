CREATE SCHEMA ledger;

-- The journal. An entry stands once under its kind and reference, so a replay adds nothing.
CREATE TABLE ledger.entries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,
    reference   text COLLATE "C" NOT NULL,
    first_line  smallint NOT NULL DEFAULT 1,
    posted_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT an_entry_stands_once UNIQUE (kind, reference),
    CONSTRAINT lines_count_from_one CHECK (first_line = 1)
);

-- A debit is positive, a credit negative. `owner` is whose account of its kind it is: a channel, an order,
-- a payment, a seller; empty where there is one for all.
CREATE TABLE ledger.postings (
    entry_id      bigint NOT NULL REFERENCES ledger.entries,
    line_no       smallint NOT NULL,
    account       text NOT NULL,
    owner         text COLLATE "C" NOT NULL,
    currency      char(3) NOT NULL,
    amount_minor  bigint NOT NULL,
    PRIMARY KEY (entry_id, line_no),
    CONSTRAINT a_posting_moves_something CHECK (amount_minor <> 0),
    CONSTRAINT lines_count_from_one CHECK (line_no >= 1)
);

CREATE UNIQUE INDEX an_entry_moves_an_account_once
    ON ledger.postings (account, owner, currency, entry_id);

-- At the commit, an entry has postings.
ALTER TABLE ledger.entries ADD FOREIGN KEY (id, first_line) REFERENCES ledger.postings (entry_id, line_no)
DEFERRABLE INITIALLY DEFERRED;

-- Looks at all that a statement wrote at once. Lines are 1 to n, so nothing can be added to an entry later:
-- its line 1 is taken.
CREATE FUNCTION ledger.refuse_what_does_not_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM written GROUP BY entry_id, currency HAVING sum(amount_minor) <> 0)
       OR EXISTS (SELECT FROM written GROUP BY entry_id HAVING count(*) <> max(line_no)) THEN
        RAISE EXCEPTION 'an entry is posted whole, and sums to zero' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION ledger.refuse_to_change_the_past() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is only ever added to' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER an_entry_balances AFTER INSERT ON ledger.postings
REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_what_does_not_balance();

CREATE TRIGGER entries_are_only_ever_added
-- contract: this refuses a truncation, and is none
BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.entries
FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_to_change_the_past();

CREATE TRIGGER postings_are_only_ever_added
-- contract: this refuses a truncation, and is none
BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.postings
FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_to_change_the_past();

-- What was carried forward; the rest of a balance are the postings of the entries in `fresh`. Who posts
-- touches no row of this table, so no two of them wait for each other.
CREATE TABLE ledger.balances (
    account       text NOT NULL,
    owner         text COLLATE "C" NOT NULL,
    currency      char(3) NOT NULL,
    amount_minor  bigint NOT NULL,
    PRIMARY KEY (account, owner, currency)
);

CREATE TABLE ledger.fresh (
    entry_id  bigint PRIMARY KEY REFERENCES ledger.entries
);

-- The auditor's last word on all of it: one row.
CREATE TABLE ledger.audits (
    id          boolean PRIMARY KEY DEFAULT true,
    audited_at  timestamptz NOT NULL DEFAULT now(),
    drift       bigint NOT NULL,
    CONSTRAINT there_is_one_audit CHECK (id)
);
