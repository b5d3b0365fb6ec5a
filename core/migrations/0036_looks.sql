-- `look_at` is when the provider is to be asked what became of a payment; null once nothing more can come.
-- What is called off nobody waits for any more, though somebody might still pay it.
ALTER TABLE payments.payments
    ADD COLUMN look_at timestamptz,
    ADD COLUMN called_off_at timestamptz;

UPDATE payments.payments SET look_at = now() WHERE state IN ('started', 'failed');

CREATE INDEX payments_by_look ON payments.payments (look_at) WHERE look_at IS NOT NULL;
