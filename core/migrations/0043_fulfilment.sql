CREATE SCHEMA fulfilment;

-- What one place sends to one address for one seller. Whoever changes what is in it holds its orders first.
CREATE TABLE fulfilment.consignments (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state         text NOT NULL DEFAULT 'planned',
    seller_id     bigint NOT NULL,
    place_id      bigint NOT NULL,
    member_id     bigint NOT NULL,
    currency      char(3) NOT NULL,
    carrier       text,
    tracking      text,
    merged_into   bigint REFERENCES fulfilment.consignments,
    planned_at    timestamptz NOT NULL DEFAULT now(),
    allocated_at  timestamptz,
    shipped_at    timestamptz,
    shipped_by    text,
    delivered_at  timestamptz,
    delivered_by  text,
    cancelled_at  timestamptz,
    CONSTRAINT what_left_says_how_and_by_whom CHECK (
        (shipped_at IS NULL) = (carrier IS NULL) AND (shipped_at IS NULL) = (tracking IS NULL)
        AND (shipped_at IS NULL) = (shipped_by IS NULL)),
    CONSTRAINT what_is_there_has_left_and_says_who_says_so CHECK (
        (delivered_at IS NULL) = (delivered_by IS NULL) AND (delivered_at IS NULL OR shipped_at IS NOT NULL)),
    CONSTRAINT only_what_is_over_went_into_another CHECK (merged_into IS NULL OR cancelled_at IS NOT NULL)
);

CREATE INDEX consignments_by_state ON fulfilment.consignments (state, id);
CREATE INDEX consignments_by_place ON fulfilment.consignments (place_id, id);
CREATE INDEX consignments_by_place_and_state ON fulfilment.consignments (place_id, state, id);

CREATE TABLE fulfilment.lines (
    consignment_id  bigint NOT NULL REFERENCES fulfilment.consignments,
    order_id        uuid NOT NULL,
    line_no         smallint NOT NULL,
    sku_id          bigint NOT NULL,
    kept_for        text NOT NULL,
    quantity        int NOT NULL,
    goods_minor     bigint NOT NULL,
    discount_minor  bigint NOT NULL,
    tax_minor       bigint NOT NULL,
    shipping_minor  bigint NOT NULL,
    PRIMARY KEY (consignment_id, order_id, line_no),
    CONSTRAINT a_line_has_units CHECK (quantity > 0)
);

CREATE INDEX lines_by_order ON fulfilment.lines (order_id);

-- How long each order takes, from its payment on. That it is here says that the order is planned.
CREATE TABLE fulfilment.leads (
    order_id      uuid PRIMARY KEY,
    paid_at       timestamptz NOT NULL,
    planned_at    timestamptz NOT NULL DEFAULT now(),
    shipped_at    timestamptz,
    delivered_at  timestamptz,
    cancelled_at  timestamptz
);

CREATE INDEX leads_by_shipping ON fulfilment.leads (shipped_at) WHERE shipped_at IS NOT NULL;
CREATE INDEX leads_by_delivery ON fulfilment.leads (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX leads_waiting ON fulfilment.leads (paid_at) WHERE shipped_at IS NULL AND cancelled_at IS NULL;
