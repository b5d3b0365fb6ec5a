-- Goods may come back when nothing of what was paid for them is left: their case ends, and no refund is named.
ALTER TABLE aftersale.cases
    -- contract: what it allowed is allowed still
    DROP CONSTRAINT what_is_refunded_names_its_refund,
    ADD CONSTRAINT a_refund_is_of_money CHECK (
        (refund_id IS NULL) = (refunded_minor = 0) AND (refund_id IS NULL OR state = 'refunded'));
