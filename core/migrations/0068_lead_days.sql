-- How long something took, as one of sixteen bands to each doubling of the seconds: what is in one differs by 4 %.
CREATE FUNCTION fulfilment.band(took interval) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ceil(16 * ln(1 + greatest(extract(epoch FROM took)::float8, 0)) / ln(2::float8))::int;

-- The most that a band holds, in seconds.
CREATE FUNCTION fulfilment.longest(band int) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 2 ^ (band / 16::float8) - 1;

-- What an order came to, when, and how long after its payment.
CREATE VIEW fulfilment.ends AS
SELECT 'shipped' AS kind, shipped_at AS ended_at, fulfilment.band(shipped_at - paid_at) AS band
  FROM fulfilment.leads WHERE shipped_at IS NOT NULL
 UNION ALL
SELECT 'delivered', delivered_at, fulfilment.band(delivered_at - paid_at)
  FROM fulfilment.leads WHERE delivered_at IS NOT NULL;

-- The same, summed up by days in UTC: months of orders are read in a few thousand rows.
CREATE TABLE fulfilment.lead_days (
    kind    text NOT NULL,
    day     date NOT NULL,
    band    int NOT NULL,
    orders  bigint NOT NULL,
    PRIMARY KEY (kind, day, band)
);

-- What ended before that stands in the sums, and nothing else does.
CREATE TABLE fulfilment.summed (
    single  boolean PRIMARY KEY DEFAULT true,
    upto    timestamptz NOT NULL,
    CONSTRAINT there_is_one_mark CHECK (single)
);

INSERT INTO fulfilment.summed (upto) SELECT coalesce(max(ended_at) + interval '1 us', now()) FROM fulfilment.ends;
INSERT INTO fulfilment.lead_days (kind, day, band, orders)
SELECT kind, (ended_at AT TIME ZONE 'UTC')::date, band, count(*) FROM fulfilment.ends GROUP BY 1, 2, 3;
