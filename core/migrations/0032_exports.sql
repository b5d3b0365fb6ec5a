-- A file of goods on its way out.
CREATE TABLE sheets.exports (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    format      text NOT NULL,
    state       text NOT NULL DEFAULT 'writing',
    by_whom     text NOT NULL,
    rows        bigint NOT NULL DEFAULT 0,
    bytes       bigint NOT NULL DEFAULT 0,
    problem     jsonb,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    CONSTRAINT a_sheet_of_goods_is_csv_or_xlsx CHECK (format IN ('csv', 'xlsx'))
);

CREATE TABLE sheets.written (
    export_id  bigint NOT NULL REFERENCES sheets.exports ON DELETE CASCADE,
    number     int NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (export_id, number)
);
