CREATE SCHEMA aftersale;

-- What a buyer asked for about a line of an order, and what came of it. Whoever opens or ends one writes an event into
-- its order's log, so of two who do at once one wins.
CREATE TABLE aftersale.cases (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id        uuid NOT NULL,
    line_no         smallint NOT NULL,
    member_id       bigint NOT NULL,
    seller_id       bigint NOT NULL,
    sku_id          bigint NOT NULL,
    kind            text NOT NULL,
    quantity        int NOT NULL,
    wanted_minor    bigint NOT NULL,
    currency        char(3) NOT NULL,
    state           text NOT NULL DEFAULT 'asked',
    reason          text NOT NULL,
    answer          text,
    carrier         text,
    tracking        text,
    place_id        bigint,
    condition       text,
    refund_id       uuid,
    refunded_minor  bigint NOT NULL DEFAULT 0,
    follow_up       uuid,
    key             text NOT NULL,
    asked_at        timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    CONSTRAINT a_key_asks_once UNIQUE (order_id, key),
    CONSTRAINT a_case_is_about_units CHECK (quantity > 0),
    CONSTRAINT only_a_claim_names_an_amount CHECK ((kind = 'claim') = (wanted_minor > 0)),
    CONSTRAINT what_is_refunded_names_its_refund CHECK (
        (state = 'refunded') = (refund_id IS NOT NULL) AND (refund_id IS NULL) = (refunded_minor = 0)),
    CONSTRAINT what_is_replaced_names_its_order CHECK ((state = 'replaced') = (follow_up IS NOT NULL)),
    CONSTRAINT what_came_back_was_looked_at CHECK ((place_id IS NULL) = (condition IS NULL))
);

CREATE INDEX cases_by_state ON aftersale.cases (state, id);
