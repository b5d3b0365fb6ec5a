-- What became of a sale, and when: each state it moved to, and the first moment at which all of it was sold.
CREATE TABLE sales.milestones (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id     bigint NOT NULL REFERENCES sales.sales,
    kind        text NOT NULL,
    reached_at  timestamptz NOT NULL DEFAULT now(),
    xact        xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX milestones_by_transaction ON sales.milestones (xact, reached_at);
CREATE UNIQUE INDEX a_sale_sells_out_once ON sales.milestones (sale_id) WHERE kind = 'sold_out';
