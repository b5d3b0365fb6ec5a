-- A catalogue of so many products (setting `goods.products`), five SKUs each, made set by set. Nothing is random:
-- every choice is a hash of the product's number. Products come as a shop imports them, category by category, so that
-- a category's ids and prices stand together: an index in another order has to pass by all the others.

-- step: words
CREATE SCHEMA made;

CREATE FUNCTION made.mix(n bigint, salt int, size int) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((hashint8extended(n, salt) & 2147483647) % size)::int;

-- One of some words, as often as another.
CREATE FUNCTION made.pick(words text[], n bigint, salt int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN words[1 + made.mix(n, salt, cardinality(words))];

CREATE TABLE made.words AS
SELECT string_to_array('scarf dress shirt coat trouser skirt sock glove kettle cup bowl plate pan knife spoon lamp chair table sofa shelf carpet curtain pillow blanket phone cable charger camera speaker keyboard tent rope boot bottle bicycle helmet ball racket puzzle doll', ' ') AS nouns_en,
       string_to_array('围巾 连衣裙 衬衫 大衣 长裤 半裙 袜子 手套 水壶 杯子 汤碗 盘子 炒锅 菜刀 勺子 台灯 椅子 餐桌 沙发 书架 地毯 窗帘 枕头 毛毯 手机 数据线 充电器 相机 音箱 键盘 帐篷 登山绳 靴子 水瓶 自行车 头盔 足球 球拍 拼图 玩偶', ' ') AS nouns_zh,
       string_to_array('silk cotton linen wool leather steel copper bamboo ceramic glass oak nylon', ' ') AS materials,
       string_to_array('真丝 纯棉 亚麻 羊毛 皮革 不锈钢 紫铜 竹制 陶瓷 玻璃 橡木 尼龙', ' ') AS materials_zh,
       string_to_array('red blue green black white grey brown pink yellow purple orange ivory', ' ') AS colours,
       string_to_array('light soft strong warm quiet bright handmade elegant modern compact durable simple', ' ') AS tones,
       string_to_array('轻便 柔软 结实 保暖 静音 明亮 手工 优雅 现代 小巧 耐用 简约', ' ') AS tones_zh,
       string_to_array('made for every day at home and on the road washes well keeps its shape comes in a gift box with a two year warranty shipped within one working day', ' ') AS phrase_en,
       string_to_array('适合日常家用 外出携带方便 易清洗 不易变形 附赠礼盒 两年质保 当日发货 做工精细 送礼佳选 环保材料', ' ') AS phrase_zh,
       string_to_array('spring summer autumn winter', ' ') AS seasons;

-- step: categories
-- Eight trees, five levels: 8, 32, 128, 384 and 1,152.
CREATE TABLE made.places AS
SELECT level, n, row_number() OVER (ORDER BY level, n) AS id
  FROM (VALUES (1, 8), (2, 32), (3, 128), (4, 384), (5, 1152)) AS levels (level, size),
       generate_series(0, size - 1) AS n;

INSERT INTO catalogue.categories (parent_id, above, code, name, rank)
SELECT above[cardinality(above)], above, 'c' || level || '-' || n,
       jsonb_build_object('en', 'Category ' || level || '-' || n, 'zh', '类目' || level || '-' || n), n
  FROM (SELECT level, n, id, ARRAY(
            SELECT up.id FROM made.places AS up
             WHERE up.level < one.level
               AND up.n = one.n * (ARRAY[144, 36, 9, 3, 1])[one.level] / (ARRAY[144, 36, 9, 3, 1])[up.level]
             ORDER BY up.level) AS above
          FROM made.places AS one) AS every
 ORDER BY id;

INSERT INTO catalogue.attributes (category_id, code, name, kind, level, is_required, unit, choices, lowest, highest, rank)
SELECT id, code, jsonb_build_object('en', code, 'zh', code), kind, attribute_level, false, unit,
       coalesce((SELECT jsonb_agg(jsonb_build_object('code', choice, 'name', jsonb_build_object('en', choice)))
                   FROM unnest(choices) AS choice), '[]'), NULL, NULL, 0
  FROM made.places, made.words,
       LATERAL (VALUES ('brand', 'choice', 'product', NULL, ARRAY(SELECT 'b' || places.n * 25 + b FROM generate_series(0, 24) AS b)),
                       ('material', 'choice', 'product', NULL, materials),
                       ('season', 'choice', 'product', NULL, seasons),
                       ('organic', 'boolean', 'product', NULL, NULL),
                       ('import', 'choice', 'product', NULL, ARRAY['air', 'sea']),
                       ('weight', 'number', 'product', 'g', NULL),
                       ('colour', 'choice', 'sku', NULL, colours),
                       ('size', 'number', 'sku', 'cm', NULL)) AS asked (code, kind, attribute_level, unit, choices)
 WHERE places.level = 1;

-- step: products
-- The smallest tree comes first: its share is 1 %, and that of the last one is 50 %.
CREATE TABLE made.products AS
WITH numbers AS (
    SELECT n, 1 + (n - 1) * 10000 / current_setting('goods.products')::bigint AS share
      FROM generate_series(1, current_setting('goods.products')::bigint) AS n
), trees AS (
    SELECT * FROM (VALUES (0, 0, 100), (1, 100, 300), (2, 300, 600), (3, 600, 1200), (4, 1200, 2000),
                          (5, 2000, 3000), (6, 3000, 5000), (7, 5000, 10000)) AS t (tree, after, upto)
)
SELECT n, tree, tree * 144 + ((share - after - 1) * 144 / (upto - after))::int AS leaf,
       CASE WHEN n % 10 = 0 OR made.mix(n, 1, 100) < 95 THEN 'published'
            ELSE (ARRAY['draft', 'withdrawn', 'archived'])[1 + made.mix(n, 2, 3)] END AS state,
       tree * 25 + least(made.mix(n, 3, 25), made.mix(n, 4, 25)) AS brand,
       1 + made.mix(n, 5, 12) AS material, 1 + made.mix(n, 6, 12) AS tone,
       (1 + tree) * 1000 + made.mix(n, 7, 20000) AS price_minor
  FROM numbers JOIN trees ON share > after AND share <= upto;

INSERT INTO catalogue.products (id, code, state, title, description, images, category_id, attributes)
OVERRIDING SYSTEM VALUE
SELECT p.n, 'SPU-' || p.n, state,
       jsonb_build_object(
           'en', concat_ws(' ', CASE WHEN made.mix(p.n, 10, 10) < 3 THEN 'New' END, 'Brand' || brand,
                           tones[tone], materials[material], nouns_en[1 + leaf % 40], 'x' || made.mix(p.n, 11, 90000)),
           'zh', concat(CASE WHEN made.mix(p.n, 10, 10) < 3 THEN '新款' END, tones_zh[tone], materials_zh[material],
                        nouns_zh[1 + leaf % 40], chr(20000 + made.mix(p.n, 12, 3000)) || chr(20000 + made.mix(p.n, 13, 3000)))),
       jsonb_build_object(
           'en', (SELECT string_agg(made.pick(phrase_en, p.n, s), ' ') FROM generate_series(20, 39) AS s),
           'zh', (SELECT string_agg(made.pick(phrase_zh, p.n, s), ',') FROM generate_series(40, 45) AS s)),
       ARRAY['/images/' || p.n || '.jpg'], leaves.id,
       jsonb_build_object('brand', 'b' || brand, 'material', materials[material], 'season', made.pick(seasons, p.n, 8),
                          'organic', made.mix(p.n, 9, 50) = 0, 'weight', 50 + made.mix(p.n, 14, 5000))
       -- What half of the goods have, and none in the other half.
       || CASE WHEN tree < 7 THEN jsonb_build_object('import', made.pick('{air,sea}', p.n, 16)) ELSE '{}' END
  FROM made.products AS p JOIN made.places AS leaves ON leaves.level = 5 AND leaves.n = leaf, made.words;

-- step: SKUs
INSERT INTO catalogue.skus (id, product_id, code, currency, attributes)
OVERRIDING SYSTEM VALUE
SELECT (n - 1) * 5 + s, n, 'SKU-' || n || '-' || s, 'CNY',
       jsonb_build_object('colour', colours[1 + (made.mix(n, 15, 12) + s) % 12], 'size', 10 * s)
  FROM made.products, generate_series(1, 5) AS s, made.words;

-- step: prices
INSERT INTO catalogue.prices (sku_id, currency, price_minor)
SELECT (n - 1) * 5 + s, currency, CASE currency WHEN 'CNY' THEN price_minor + s * 100 ELSE (price_minor + s * 100) / 7 END
  FROM made.products, generate_series(1, 5) AS s, (VALUES ('CNY'), ('USD')) AS every (currency);

-- step: stock
INSERT INTO inventory.places (code, kind, name, region, rank)
SELECT 'P-' || n, CASE WHEN n < 3 THEN 'warehouse' ELSE 'store' END, jsonb_build_object('en', 'Place ' || n, 'zh', '地点' || n), '', n
  FROM generate_series(2, 4) AS n;

-- Both warehouses have every SKU, and each store one in ten.
INSERT INTO inventory.balances (sku_id, place_id, on_hand, alerted)
SELECT sku_id, place_id, units, units <= 50
  FROM (SELECT sku_id, place_id, made.mix(sku_id, place_id, 2000) AS units
          FROM generate_series(1, 5 * current_setting('goods.products')::bigint) AS sku_id, generate_series(1, 4) AS place_id
         WHERE place_id < 3 OR made.mix(sku_id, 20 + place_id, 10) = 0) AS every;

-- step: movements
INSERT INTO inventory.movements (kind, sku_id, place_id, quantity, reference, line_no, by_whom)
SELECT 'receive', sku_id, place_id, on_hand, 'load:' || (sku_id - 1) / 1000, (sku_id - 1) % 1000 * 4 + place_id, 'benchmark'
  FROM inventory.balances WHERE on_hand > 0;

-- A few SKUs that have moved ten thousand times.
INSERT INTO inventory.movements (kind, sku_id, place_id, quantity, reference, line_no, by_whom)
SELECT kind, sku_id, 1, 1, kind || sku_id || '-' || n, 1, 'benchmark'
  FROM generate_series(1, 10) AS sku_id, generate_series(1, 5000) AS n, (VALUES ('surplus'), ('shortage')) AS every (kind);

-- step: alerts, transfers, counts
-- Half a million that are over, and behind them those that are not; a store has few of them.
INSERT INTO inventory.alerts (sku_id, place_id, free, safety_stock, cleared_at)
SELECT n, 1, 0, 50, now() FROM generate_series(1, 500000) AS n;
INSERT INTO inventory.alerts (sku_id, place_id, free, safety_stock)
SELECT sku_id, place_id, free, safety_stock FROM inventory.balances WHERE alerted ORDER BY place_id, sku_id;

INSERT INTO staff.people (name, roles) VALUES ('wms', '{system}');
INSERT INTO feeds.feeds (system, place_id) VALUES ('wms', 4);

INSERT INTO inventory.transfers (source_id, target_id, state, by_whom)
SELECT 1, 2, (ARRAY['planned', 'arrived', 'cancelled'])[1 + n % 3], 'benchmark' FROM generate_series(1, 20000) AS n;

INSERT INTO inventory.transfer_lines (transfer_id, sku_id, quantity, arrived)
SELECT id, 1 + (id * 5 + line) % (SELECT count(*) FROM catalogue.skus), 10, CASE state WHEN 'arrived' THEN 10 ELSE 0 END
  FROM inventory.transfers, generate_series(1, 5) AS line;

INSERT INTO inventory.counts (reference, sku_id, place_id, state, expected, counted, value_minor, currency, needs_second, counted_by)
SELECT 'count-' || n, n, 1, CASE WHEN n % 10 = 0 THEN 'proposed' ELSE 'rejected' END, 10, 9, 100, 'CNY', false, 'benchmark'
  FROM generate_series(1, 50000) AS n;

-- step: clean
SELECT setval('catalogue.products_id_seq', (SELECT max(id) FROM catalogue.products));
SELECT setval('catalogue.skus_id_seq', (SELECT max(id) FROM catalogue.skus));
DROP SCHEMA made CASCADE;
