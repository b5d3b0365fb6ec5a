CREATE SCHEMA catalogue;

CREATE TABLE catalogue.products (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title  jsonb NOT NULL,
    CONSTRAINT a_product_has_a_title_per_language CHECK (jsonb_typeof(title) = 'object')
);

CREATE TABLE catalogue.skus (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id   bigint NOT NULL REFERENCES catalogue.products,
    code         text NOT NULL,
    price_minor  bigint NOT NULL,
    currency     char(3) NOT NULL,
    CONSTRAINT a_sku_code_is_unique UNIQUE (code),
    CONSTRAINT a_price_is_not_negative CHECK (price_minor >= 0),
    CONSTRAINT a_currency_is_iso_4217 CHECK (currency ~ '^[A-Z]{3}$')
);

CREATE INDEX skus_by_product ON catalogue.skus (product_id);
