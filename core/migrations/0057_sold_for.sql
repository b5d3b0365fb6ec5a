-- Whom an item is sold for, and what part of it the platform takes, as agreed when the sale was planned.
ALTER TABLE sales.items
    ADD COLUMN seller_id bigint NOT NULL DEFAULT 1,
    ADD COLUMN commission_bps smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT a_commission_is_part_of_the_price CHECK (commission_bps BETWEEN 0 AND 10000);
