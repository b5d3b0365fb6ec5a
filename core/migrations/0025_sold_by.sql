-- Who sold it, and what part of it the platform takes, in hundredths of a percent: as agreed when it was
-- sold. 1 is the shop itself.
ALTER TABLE orders.lines
    ADD COLUMN seller_id bigint NOT NULL DEFAULT 1,
    ADD COLUMN commission_bps smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT a_commission_is_part_of_the_price CHECK (commission_bps BETWEEN 0 AND 10000);
