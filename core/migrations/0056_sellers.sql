-- Whose goods they are; 1 is the shop itself. It never changes: who sells them now offers them as goods of their own.
ALTER TABLE catalogue.products
    ADD COLUMN seller_id bigint NOT NULL DEFAULT 1,
    ADD CONSTRAINT a_seller_has_a_number CHECK (seller_id > 0);
