-- Han characters, one by one and in overlapping pairs, each with its place and its weight.
CREATE FUNCTION catalogue.han(said text, weight text) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(string_agg(substr(run, place, size) || ':' || least(place, 16383) || weight,
                               ' '), '')::tsvector
      FROM regexp_matches(said, '[\u3400-\u4dbf\u4e00-\u9fff]+', 'g') AS found (runs),
           unnest(runs) AS run, generate_series(1, length(run)) AS place,
           generate_series(1, 2) AS size
     WHERE place + size <= length(run) + 1
);

-- A text as lexemes: English stems, and the Han characters of what is no English. What is longer than
-- twenty thousand characters is cut: a tsvector holds one megabyte.
CREATE FUNCTION catalogue.words(said text, weight "char") RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN setweight(to_tsvector('english',
           regexp_replace(left(coalesce(said, ''), 20000), '[\u3400-\u4dbf\u4e00-\u9fff]+', ' ', 'g')),
           weight)
    || catalogue.han(left(coalesce(said, ''), 20000), weight::text);

-- What a buyer asks for: all of its English stems; and each Han character, in a pair with the one
-- before or the one after, so that words which nothing parts may stand apart in what is found.
CREATE FUNCTION catalogue.asked(said text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN plainto_tsquery('english',
           regexp_replace(said, '[\u3400-\u4dbf\u4e00-\u9fff]+', ' ', 'g'))
    && (
    SELECT coalesce(string_agg('(' || concat_ws('|',
               CASE WHEN length(run) = 1 THEN run END,
               CASE WHEN place > 1 THEN substr(run, place - 1, 2) END,
               CASE WHEN place < length(run) THEN substr(run, place, 2) END) || ')', '&'),
           '')::tsquery
      FROM regexp_matches(said, '[\u3400-\u4dbf\u4e00-\u9fff]+', 'g') AS found (runs),
           unnest(runs) AS run, generate_series(1, length(run)) AS place
);

-- What buyers look through, a row for each published product. Whoever changes one holds it.
CREATE TABLE catalogue.listings (
    product_id    bigint PRIMARY KEY REFERENCES catalogue.products,
    category_ids  bigint[] NOT NULL,
    facets        text[] NOT NULL,
    words         tsvector NOT NULL
);

CREATE INDEX listings_by_content ON catalogue.listings USING gin (category_ids, facets, words);

-- From how much on a product is sold, per currency.
CREATE TABLE catalogue.listed_prices (
    product_id   bigint NOT NULL REFERENCES catalogue.listings ON DELETE CASCADE,
    currency     char(3) NOT NULL,
    price_minor  bigint NOT NULL,
    PRIMARY KEY (product_id, currency)
);

CREATE INDEX listed_prices_in_order ON catalogue.listed_prices (currency, price_minor, product_id);

INSERT INTO catalogue.listings (product_id, category_ids, facets, words)
SELECT products.id, coalesce(categories.above || categories.id, '{}'),
       ARRAY(SELECT DISTINCT key || ':' || (value #>> '{}')
               FROM (SELECT key, value FROM jsonb_each(products.attributes)
                     UNION ALL
                     SELECT key, value FROM catalogue.skus, jsonb_each(skus.attributes)
                      WHERE skus.product_id = products.id) AS every
              WHERE jsonb_typeof(value) <> 'object'),
       catalogue.words(concat_ws(' ',
           (SELECT string_agg(value, ' ') FROM jsonb_each_text(products.title)), products.code,
           (SELECT string_agg(concat_ws(' ', skus.code, skus.gtin), ' ')
              FROM catalogue.skus WHERE skus.product_id = products.id)), 'A')
    || catalogue.words(
           (SELECT string_agg(value, ' ') FROM jsonb_each_text(products.description)), 'B')
  FROM catalogue.products
  LEFT JOIN catalogue.categories ON categories.id = products.category_id
 WHERE products.state = 'published';

INSERT INTO catalogue.listed_prices (product_id, currency, price_minor)
SELECT product_id, prices.currency, min(price_minor)
  FROM catalogue.listings
  JOIN catalogue.skus USING (product_id)
  JOIN catalogue.prices ON prices.sku_id = skus.id
 GROUP BY product_id, prices.currency;

-- contract: the shop's lists read catalogue.listings since this version
DROP INDEX catalogue.published_products;
