-- What somebody counted in a place. A difference that is worth much waits for a second person.
CREATE TABLE inventory.counts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reference     text NOT NULL,
    sku_id        bigint NOT NULL,
    place_id      bigint NOT NULL,
    state         text NOT NULL,
    expected      bigint NOT NULL,
    counted       bigint NOT NULL,
    value_minor   bigint NOT NULL,
    currency      char(3) NOT NULL,
    needs_second  boolean NOT NULL,
    counted_by    text NOT NULL,
    counted_at    timestamptz NOT NULL DEFAULT now(),
    decided_by    text,
    decided_at    timestamptz,
    FOREIGN KEY (sku_id, place_id) REFERENCES inventory.balances,
    CONSTRAINT a_reference_counts_a_sku_once UNIQUE (reference, sku_id),
    CONSTRAINT nobody_counts_below_zero CHECK (counted >= 0),
    CONSTRAINT two_people_see_what_is_worth_much
        CHECK (state <> 'applied' OR NOT needs_second OR decided_by <> counted_by)
);

CREATE UNIQUE INDEX a_balance_has_one_open_count ON inventory.counts (sku_id, place_id)
 WHERE state = 'proposed';
