-- A number as one of four to each doubling, counted up from the smallest: what is near has the same, or the next.
CREATE FUNCTION catalogue.band(number float8) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (sign(number) * floor(4 * ln(1 + abs(number)) / ln(2::float8)))::int;

-- The keys of a number: its band, and the sixteen bands around it as one.
CREATE FUNCTION catalogue.banded(code text, number float8) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[code || '~' || catalogue.band(number), code || '~~' || (catalogue.band(number) >> 4)];

-- The keys that numbers from one to another have: at most 32, and some numbers beside them have those too.
CREATE FUNCTION catalogue.within(code text, lowest float8, highest float8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN catalogue.band(highest) - catalogue.band(lowest) < 32 THEN (
    SELECT string_agg(quote_literal(code || '~' || band), '|')
      FROM generate_series(catalogue.band(lowest), catalogue.band(highest)) AS band
) ELSE (
    SELECT string_agg(quote_literal(code || '~~' || bands), '|')
      FROM generate_series(catalogue.band(lowest) >> 4, catalogue.band(highest) >> 4) AS bands
) END;

-- All of these facets, and a number in each of these ranges; NULL where nothing is asked for.
CREATE FUNCTION catalogue.sought(facets text[], codes text[], lowest float8[], highest float8[])
RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT string_agg(part, '&')::tsquery
      FROM (SELECT quote_literal(facet) FROM unnest(facets) AS facet
            UNION ALL
            SELECT '(' || catalogue.within(code, least(low, high), high) || ')'
              FROM unnest(codes, lowest, highest) AS ranges (code, low, high)) AS every (part)
);

-- contract: lists are made anew below, in the only shape that is read since this version
DROP TABLE catalogue.listed_prices, catalogue.listings;

-- What buyers look through, a row for each published product. Whoever changes one holds its product.
-- `keys` are its facets and the keys of its numbers; `prices` are the lowest, per currency; `numbers` are
-- all values of each numeric attribute. `words` stand apart from the row: a list reads none of them.
CREATE TABLE catalogue.listings (
    product_id    bigint PRIMARY KEY REFERENCES catalogue.products,
    category_ids  bigint[] NOT NULL,
    keys          tsvector STORAGE MAIN NOT NULL,
    prices        jsonb STORAGE MAIN NOT NULL,
    numbers       jsonb STORAGE MAIN NOT NULL,
    words         tsvector STORAGE EXTERNAL NOT NULL
) WITH (toast_tuple_target = 512);

-- The listings of each category in each order: by price in a currency, or by id, which is the currency ''
-- where all prices are 0. Everything stands in category 0.
CREATE TABLE catalogue.shelves (
    category_id  bigint NOT NULL,
    currency     text NOT NULL,
    price_minor  bigint NOT NULL,
    product_id   bigint NOT NULL,
    PRIMARY KEY (category_id, currency, price_minor, product_id)
);

-- What a product and its SKUs are like, value by value. A text in several languages is only searched.
CREATE VIEW catalogue.valued AS
SELECT product_id, key, value
  FROM (SELECT id AS product_id, attributes FROM catalogue.products
        UNION ALL
        SELECT product_id, attributes FROM catalogue.skus) AS described, jsonb_each(attributes)
 WHERE jsonb_typeof(value) <> 'object';

-- What the row of each listing has to be.
CREATE VIEW catalogue.listed AS
SELECT products.id AS product_id,
       array_remove(categories.above || categories.id, NULL) AS category_ids,
       array_to_tsvector(facets || ARRAY(
           SELECT unnest(catalogue.banded(code, number))
             FROM (SELECT key, value::float8 FROM jsonb_each_text(prices)
                   UNION ALL
                   SELECT key, number::float8 FROM jsonb_each(numbers),
                          jsonb_array_elements_text(value) AS number) AS every (code, number)
       )) AS keys,
       prices, numbers,
       catalogue.words(concat_ws(' ',
           (SELECT string_agg(value, ' ') FROM jsonb_each_text(products.title)), products.code,
           (SELECT string_agg(concat_ws(' ', skus.code, skus.gtin), ' ')
              FROM catalogue.skus WHERE skus.product_id = products.id)), 'A')
    || catalogue.words(
           (SELECT string_agg(value, ' ') FROM jsonb_each_text(products.description)), 'B') AS words
  FROM catalogue.products
  LEFT JOIN catalogue.categories ON categories.id = products.category_id
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(currency, lowest), '{}') AS prices
         FROM (SELECT prices.currency, min(price_minor) AS lowest
                 FROM catalogue.skus JOIN catalogue.prices ON prices.sku_id = skus.id
                WHERE skus.product_id = products.id GROUP BY prices.currency) AS every) AS priced
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(DISTINCT key || ':' || (value #>> '{}')), '{}') AS facets
         FROM catalogue.valued WHERE valued.product_id = products.id) AS described
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(key, found), '{}') AS numbers
         FROM (SELECT key, jsonb_agg(DISTINCT value) AS found
                 FROM catalogue.valued
                WHERE valued.product_id = products.id AND jsonb_typeof(value) = 'number'
                GROUP BY key) AS every) AS counted
 WHERE products.state = 'published';

-- Where listings have to stand.
CREATE VIEW catalogue.standing AS
SELECT category_id, currency, price_minor, product_id
  FROM catalogue.listings, unnest(category_ids || 0::bigint) AS category_id,
       LATERAL (SELECT '' AS currency, 0::bigint AS price_minor
                UNION ALL
                SELECT key, value::bigint FROM jsonb_each_text(prices)) AS orders;

INSERT INTO catalogue.listings (product_id, category_ids, keys, prices, numbers, words)
SELECT product_id, category_ids, keys, prices, numbers, words FROM catalogue.listed;

-- With fastupdate, every search would read what was published lately word by word.
CREATE INDEX listings_by_content ON catalogue.listings USING gin (category_ids, keys, words)
  WITH (fastupdate = off);

INSERT INTO catalogue.shelves (category_id, currency, price_minor, product_id)
SELECT category_id, currency, price_minor, product_id FROM catalogue.standing;
