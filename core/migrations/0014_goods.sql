CREATE SEQUENCE catalogue.product_numbers;

-- What is here already is on sale, and so is what old code adds.
ALTER TABLE catalogue.products
    ADD COLUMN code text NOT NULL DEFAULT 'SPU-' || nextval('catalogue.product_numbers'),
    ADD COLUMN state text NOT NULL DEFAULT 'published',
    ADD COLUMN description jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN images text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT a_product_code_is_unique UNIQUE (code),
    ADD CONSTRAINT a_product_has_a_description_per_language
        CHECK (jsonb_typeof(description) = 'object');

CREATE INDEX published_products ON catalogue.products (id) WHERE state = 'published';

-- GTIN-8, -12, -13 and -14 are one number, written with more or fewer zeros in front.
ALTER TABLE catalogue.skus
    ADD COLUMN gtin text,
    ADD CONSTRAINT a_gtin_has_8_12_13_or_14_digits CHECK (gtin ~ '^([0-9]{8}|[0-9]{12,14})$');

CREATE UNIQUE INDEX a_gtin_names_one_sku ON catalogue.skus (lpad(gtin, 14, '0'));

CREATE TABLE catalogue.prices (
    sku_id       bigint NOT NULL REFERENCES catalogue.skus,
    currency     char(3) NOT NULL,
    price_minor  bigint NOT NULL,
    PRIMARY KEY (sku_id, currency),
    CONSTRAINT a_price_is_not_negative CHECK (price_minor >= 0),
    CONSTRAINT a_currency_is_iso_4217 CHECK (currency ~ '^[A-Z]{3}$')
);

INSERT INTO catalogue.prices (sku_id, currency, price_minor)
SELECT id, currency, price_minor FROM catalogue.skus;

ALTER TABLE catalogue.skus
    ADD CONSTRAINT a_sku_has_a_price_in_its_own_currency
        FOREIGN KEY (id, currency) REFERENCES catalogue.prices,
-- contract: nothing has read it since this version; the price stands in catalogue.prices
    DROP COLUMN price_minor;
