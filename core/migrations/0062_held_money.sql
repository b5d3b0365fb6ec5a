-- Money may be held before it is taken: `taking` says when a payment's is, as its channel was told when it began;
-- `authorized_until` is how long its provider holds it. Held money is not ours, so it has no amount captured.
ALTER TABLE payments.payments
    ADD COLUMN taking text NOT NULL DEFAULT 'at_once',
    ADD COLUMN authorized_until timestamptz,
    ADD CONSTRAINT what_is_held_is_held_until_a_moment CHECK (
        state <> 'authorized' OR authorized_until IS NOT NULL),
    ADD CONSTRAINT what_is_let_go_has_a_reason CHECK (
        state NOT IN ('voiding', 'voided') OR reason IS NOT NULL);

ALTER TABLE payments.payments
    -- contract: the name is wanted for the wider condition
    DROP CONSTRAINT money_is_there_once_captured,
    -- contract: the name is wanted for the wider condition
    DROP CONSTRAINT an_open_payment_stays_with_its_order;
ALTER TABLE payments.payments
    ADD CONSTRAINT money_is_there_once_captured CHECK (
        (state IN ('started', 'failed', 'authorized', 'voiding', 'voided')) = (captured_minor IS NULL)
        AND (captured_minor IS NULL) = (captured_currency IS NULL)),
    ADD CONSTRAINT an_open_payment_stays_with_its_order CHECK (
        state NOT IN ('started', 'failed', 'authorized') OR order_id = first_order_id);
-- contract: the name is wanted for the index of the wider condition
DROP INDEX payments.an_order_keeps_one_payment;
CREATE UNIQUE INDEX an_order_keeps_one_payment ON payments.payments (order_id) WHERE state IN ('authorized', 'captured');
