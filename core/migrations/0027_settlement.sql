-- A run draws a line under what every seller is owed, and plans the payouts. `reached` is the last seller that
-- is done: a run that was stopped goes on behind it.
CREATE TABLE ledger.runs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reference   text NOT NULL,
    state       text NOT NULL,
    reached     bigint NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    CONSTRAINT a_reference_is_settled_once UNIQUE (reference)
);

-- What a seller is owed before and after the entries above `after_entry`, up to `upto_entry`. Below zero, the
-- seller owes it.
CREATE TABLE ledger.statements (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES ledger.runs,
    seller_id      bigint NOT NULL REFERENCES ledger.sellers,
    currency       char(3) NOT NULL,
    after_entry    bigint NOT NULL,
    upto_entry     bigint NOT NULL,
    opening_minor  bigint NOT NULL,
    moved_minor    bigint NOT NULL,
    closing_minor  bigint NOT NULL,
    drawn_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_run_draws_one_line UNIQUE (run_id, seller_id, currency),
    CONSTRAINT a_statement_begins_where_the_last_one_ended UNIQUE (seller_id, currency, after_entry),
    CONSTRAINT a_statement_covers_entries CHECK (after_entry < upto_entry),
    CONSTRAINT a_statement_adds_up CHECK (opening_minor + moved_minor = closing_minor)
);

CREATE TRIGGER statements_are_only_ever_added
-- contract: this refuses a truncation, and is none
BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.statements
FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_to_change_the_past();

CREATE TABLE ledger.payouts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        bigint NOT NULL REFERENCES ledger.runs,
    seller_id     bigint NOT NULL REFERENCES ledger.sellers,
    currency      char(3) NOT NULL,
    amount_minor  bigint NOT NULL,
    state         text NOT NULL,
    bank_ref      text,
    reason        text,
    planned_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    CONSTRAINT a_run_pays_a_seller_once UNIQUE (run_id, seller_id, currency),
    CONSTRAINT a_payout_is_worth_something CHECK (amount_minor > 0),
    CONSTRAINT a_failed_payout_has_a_reason CHECK (state <> 'failed' OR reason IS NOT NULL)
);

CREATE INDEX open_payouts_in_order ON ledger.payouts (id) WHERE state IN ('planned', 'sent');
