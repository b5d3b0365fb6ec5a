-- What other buckets gave to this allotment, less what it gave, within the epoch; `quota` has it already.
ALTER TABLE sales.allotments ADD COLUMN transferred bigint NOT NULL DEFAULT 0;

-- Units on their way from one bucket of a sale to another. See core.flows.carry_units.
CREATE TABLE sales.transfers (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id       bigint NOT NULL REFERENCES sales.sales,
    sku_id        bigint NOT NULL,
    source        int NOT NULL REFERENCES sales.buckets,
    target        int NOT NULL REFERENCES sales.buckets,
    units_max     bigint NOT NULL,
    state         text NOT NULL,
    source_stamp  text NOT NULL,
    target_stamp  text NOT NULL DEFAULT '',
    units         bigint NOT NULL DEFAULT 0,
    planned_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT units_go_to_another_bucket CHECK (source <> target),
    CONSTRAINT no_more_goes_than_was_planned CHECK (units BETWEEN 0 AND units_max)
);

CREATE UNIQUE INDEX one_transfer_at_a_time_between_two_buckets
    ON sales.transfers (source, target, sku_id) WHERE state IN ('planned', 'crossed');
CREATE INDEX transfers_by_sale ON sales.transfers (sale_id) WHERE state IN ('planned', 'crossed');
CREATE INDEX transfers_by_source ON sales.transfers (source);
CREATE INDEX transfers_by_target ON sales.transfers (target);
