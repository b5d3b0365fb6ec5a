CREATE SCHEMA payments;

-- `first_order_id` is the order it was started for; `order_id` the one its money counts for. They
-- differ only when it came late and its order had to be placed anew.
CREATE TABLE payments.payments (
    id                 uuid PRIMARY KEY,
    first_order_id     uuid NOT NULL,
    order_id           uuid NOT NULL,
    member_id          bigint NOT NULL,
    channel            text NOT NULL,
    amount_minor       bigint NOT NULL,
    currency           char(3) NOT NULL,
    state              text NOT NULL,
    reason             text,
    captured_minor     bigint,
    captured_currency  char(3),
    provider_ref       text,
    pay_url            text,
    started_at         timestamptz NOT NULL DEFAULT now(),
    captured_at        timestamptz,
    refunded_at        timestamptz,
    CONSTRAINT an_amount_is_not_negative CHECK (amount_minor >= 0 AND captured_minor >= 0),
    CONSTRAINT money_is_there_once_captured CHECK (
        (state IN ('started', 'failed')) = (captured_minor IS NULL)
        AND (captured_minor IS NULL) = (captured_currency IS NULL)),
    CONSTRAINT what_is_kept_is_what_was_asked CHECK (
        state <> 'captured'
        OR (captured_minor IS NOT DISTINCT FROM amount_minor
            AND captured_currency IS NOT DISTINCT FROM currency)),
    CONSTRAINT a_refund_has_a_reason CHECK (
        state NOT IN ('refunding', 'refunded') OR reason IS NOT NULL),
    CONSTRAINT an_open_payment_stays_with_its_order CHECK (
        state NOT IN ('started', 'failed') OR order_id = first_order_id)
);

CREATE UNIQUE INDEX an_order_has_one_open_payment ON payments.payments (order_id) WHERE state = 'started';
CREATE UNIQUE INDEX an_order_keeps_one_payment ON payments.payments (order_id) WHERE state = 'captured';
CREATE INDEX payments_by_first_order ON payments.payments (first_order_id);

-- What providers told us. The key makes a message that comes twice count once.
CREATE TABLE payments.events (
    channel      text NOT NULL,
    event_id     text NOT NULL,
    payment_id   uuid NOT NULL REFERENCES payments.payments,
    kind         text NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel, event_id)
);

CREATE INDEX events_by_payment ON payments.events (payment_id);
