-- Units that claims wait for in a bucket, as API workers said last. Old within seconds; nothing counts on it.
CREATE TABLE sales.wants (
    bucket     int NOT NULL REFERENCES sales.buckets,
    sku_id     bigint NOT NULL,
    units      bigint NOT NULL,
    wanted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bucket, sku_id)
);
