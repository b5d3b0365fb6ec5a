CREATE SCHEMA reconciliation;

-- What a provider says it moved for us on one day: its latest word on that day replaces the one before.
CREATE TABLE reconciliation.statements (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel     text COLLATE "C" NOT NULL,
    day         date NOT NULL,
    source      text NOT NULL,
    line_count  int NOT NULL DEFAULT 0,
    checked_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_day_has_one_statement UNIQUE (channel, day)
);

-- `line_id` is the provider's own, and nobody promises that it comes once. `reference` is ours: a payment or a refund.
CREATE TABLE reconciliation.lines (
    statement_id  bigint NOT NULL REFERENCES reconciliation.statements,
    line_no       int NOT NULL,
    line_id       text COLLATE "C" NOT NULL,
    kind          text NOT NULL,
    reference     text COLLATE "C" NOT NULL,
    amount_minor  bigint NOT NULL,
    currency      char(3) NOT NULL,
    moved_at      timestamptz NOT NULL,
    PRIMARY KEY (statement_id, line_no),
    CONSTRAINT a_line_moves_something CHECK (amount_minor > 0)
);

CREATE INDEX lines_by_reference ON reconciliation.lines (reference, kind);
CREATE INDEX lines_by_id ON reconciliation.lines (line_id, kind);

CREATE TABLE reconciliation.differences (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement_id  bigint NOT NULL REFERENCES reconciliation.statements,
    what          text NOT NULL,
    kind          text NOT NULL,
    reference     text COLLATE "C" NOT NULL,
    line_id       text COLLATE "C" NOT NULL,
    there_minor   bigint NOT NULL,
    here_minor    bigint NOT NULL,
    currency      char(3) NOT NULL,
    state         text NOT NULL DEFAULT 'open',
    note          text,
    ended_by      text,
    found_at      timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    CONSTRAINT a_difference_is_told_once UNIQUE (statement_id, what, kind, reference, line_id),
    CONSTRAINT what_is_resolved_says_how CHECK (state <> 'resolved' OR (note IS NOT NULL AND ended_by IS NOT NULL))
);

CREATE INDEX open_differences_in_order ON reconciliation.differences (id) WHERE state = 'open';
