-- Decided in the plan, before anything is loaded: members are routed by it for ever.
ALTER TABLE sales.sales
    ADD COLUMN bucket_count smallint NOT NULL DEFAULT 1,
    ADD CONSTRAINT a_sale_has_between_one_and_64_buckets CHECK (bucket_count BETWEEN 1 AND 64);
