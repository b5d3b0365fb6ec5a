-- `capture_ref` is the provider's name for the money that came, which a refund refers to. `expires_at` is
-- when the order's hold ends: nobody is to pay after that.
ALTER TABLE payments.payments
    ADD COLUMN capture_ref text,
    ADD COLUMN expires_at timestamptz NOT NULL DEFAULT now() + interval '15 minutes';
