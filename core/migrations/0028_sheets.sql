CREATE SCHEMA sheets;

-- A file of goods on its way in. The counters are of its rows, and move with the rows themselves.
CREATE TABLE sheets.imports (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    format      text NOT NULL,
    is_trial    boolean NOT NULL,
    state       text NOT NULL DEFAULT 'receiving',
    by_whom     text NOT NULL,
    bytes       bigint NOT NULL DEFAULT 0,
    digest      bytea,
    encoding    text,
    columns     text[],
    line        bigint NOT NULL DEFAULT 0,
    read        bigint NOT NULL DEFAULT 0,
    made        bigint NOT NULL DEFAULT 0,
    changed     bigint NOT NULL DEFAULT 0,
    same        bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0,
    problem     jsonb,
    created_at  timestamptz NOT NULL DEFAULT now(),
    touched_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    CONSTRAINT a_file_of_goods_is_csv_or_xlsx CHECK (format IN ('csv', 'xlsx')),
    CONSTRAINT no_more_rows_are_decided_than_read CHECK (made + changed + same + refused <= read),
    CONSTRAINT what_is_done_has_decided_every_row
        CHECK (state <> 'done' OR made + changed + same + refused = read)
);

CREATE UNIQUE INDEX a_file_is_worked_off_once ON sheets.imports (digest, is_trial)
 WHERE state IN ('reading', 'applying');

-- The file itself, for as long as it has to be read.
CREATE TABLE sheets.parts (
    import_id  bigint NOT NULL REFERENCES sheets.imports ON DELETE CASCADE,
    number     int NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (import_id, number)
);

-- Rows that wait to be decided. What is gone from here was decided in the transaction that took it.
CREATE TABLE sheets.waiting (
    import_id  bigint NOT NULL REFERENCES sheets.imports ON DELETE CASCADE,
    line       bigint NOT NULL,
    spu_code   text NOT NULL,
    sku_code   text,
    gtin       text,
    cells      jsonb NOT NULL,
    PRIMARY KEY (import_id, line)
);

CREATE INDEX waiting_by_spu ON sheets.waiting (import_id, spu_code, line);
CREATE UNIQUE INDEX a_sku_waits_in_one_row ON sheets.waiting (import_id, sku_code);
CREATE UNIQUE INDEX a_gtin_waits_in_one_row ON sheets.waiting (import_id, gtin);

-- The report: a row of the file that was not taken, and why.
CREATE TABLE sheets.refused (
    import_id  bigint NOT NULL REFERENCES sheets.imports ON DELETE CASCADE,
    line       bigint NOT NULL,
    spu_code   text NOT NULL,
    sku_code   text NOT NULL,
    at_column  text NOT NULL,
    reason     text NOT NULL,
    about      text NOT NULL,
    PRIMARY KEY (import_id, line)
);
