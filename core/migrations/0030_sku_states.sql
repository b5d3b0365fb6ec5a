-- A SKU has a life of its own. Old code adds it on sale, which all of them have been so far.
ALTER TABLE catalogue.skus ADD COLUMN state text NOT NULL DEFAULT 'on_sale';

-- Of a product's SKUs, buyers find those on sale; where there is none, they find no product.
CREATE OR REPLACE VIEW catalogue.valued AS
SELECT product_id, key, value
  FROM (SELECT id AS product_id, attributes FROM catalogue.products
        UNION ALL
        SELECT product_id, attributes FROM catalogue.skus WHERE state = 'on_sale') AS described, jsonb_each(attributes)
 WHERE jsonb_typeof(value) <> 'object';

CREATE OR REPLACE VIEW catalogue.listed AS
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
              FROM catalogue.skus
             WHERE skus.product_id = products.id AND skus.state = 'on_sale')), 'A')
    || catalogue.words(
           (SELECT string_agg(value, ' ') FROM jsonb_each_text(products.description)), 'B') AS words
  FROM catalogue.products
  LEFT JOIN catalogue.categories ON categories.id = products.category_id
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(currency, lowest), '{}') AS prices
         FROM (SELECT prices.currency, min(price_minor) AS lowest
                 FROM catalogue.skus JOIN catalogue.prices ON prices.sku_id = skus.id
                WHERE skus.product_id = products.id AND skus.state = 'on_sale'
                GROUP BY prices.currency) AS every) AS priced
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(DISTINCT key || ':' || (value #>> '{}')), '{}') AS facets
         FROM catalogue.valued WHERE valued.product_id = products.id) AS described
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(key, found), '{}') AS numbers
         FROM (SELECT key, jsonb_agg(DISTINCT value) AS found
                 FROM catalogue.valued
                WHERE valued.product_id = products.id AND jsonb_typeof(value) = 'number'
                GROUP BY key) AS every) AS counted
 WHERE products.state = 'published'
   AND EXISTS (SELECT FROM catalogue.skus
                WHERE skus.product_id = products.id AND skus.state = 'on_sale');
