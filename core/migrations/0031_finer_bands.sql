-- Sixteen bands to each doubling. A range of one number among a hundred thousand finds some thousands beside it.
CREATE OR REPLACE FUNCTION catalogue.band(number float8) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (sign(number) * floor(16 * ln(1 + abs(number)) / ln(2::float8)))::int;

-- The keys of a number: its band, and two doublings around it as one.
CREATE OR REPLACE FUNCTION catalogue.banded(code text, number float8) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[code || '~' || catalogue.band(number), code || '~~' || (catalogue.band(number) >> 5)];

-- The keys that numbers from one to another have: bands at both ends, doublings in between. Some
-- numbers beside them have those too.
CREATE OR REPLACE FUNCTION catalogue.within(code text, lowest float8, highest float8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT string_agg(DISTINCT quote_literal(
               CASE WHEN band >> 5 IN (catalogue.band(lowest) >> 5, catalogue.band(highest) >> 5)
                    THEN code || '~' || band ELSE code || '~~' || (band >> 5) END), '|')
      FROM generate_series(catalogue.band(lowest), catalogue.band(highest)) AS band
);

-- contract: made again below, once the keys are new
DROP INDEX catalogue.listings_by_content;

UPDATE catalogue.listings SET keys = listed.keys
  FROM catalogue.listed WHERE listed.product_id = listings.product_id;

CREATE INDEX listings_by_content ON catalogue.listings USING gin (category_ids, keys, words)
  WITH (fastupdate = off);
