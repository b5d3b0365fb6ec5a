-- Money that was kept and goes back, in whole or in part. What could never be kept goes back by itself: 'refunding'.
CREATE TABLE payments.refunds (
    id            uuid PRIMARY KEY,
    payment_id    uuid NOT NULL REFERENCES payments.payments,
    order_id      uuid NOT NULL,
    amount_minor  bigint NOT NULL,
    reason        text NOT NULL,
    state         text NOT NULL,
    asked_at      timestamptz NOT NULL DEFAULT now(),
    paid_at       timestamptz,
    CONSTRAINT a_refund_is_of_something CHECK (amount_minor > 0),
    CONSTRAINT what_is_paid_has_its_time CHECK ((state = 'paid') = (paid_at IS NOT NULL))
);

CREATE INDEX refunds_by_order ON payments.refunds (order_id, id);

ALTER TABLE payments.payments
    ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT never_more_goes_back_than_came CHECK (refunded_minor BETWEEN 0 AND coalesce(captured_minor, 0)),
    ADD CONSTRAINT only_what_was_kept_is_refunded_in_parts CHECK (refunded_minor = 0 OR state = 'captured');
