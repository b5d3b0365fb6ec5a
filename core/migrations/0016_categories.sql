-- A tree. `above` leads from the root to the parent. Whoever changes a tree holds its root.
CREATE TABLE catalogue.categories (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id     bigint REFERENCES catalogue.categories,
    above         bigint[] NOT NULL,
    code          text NOT NULL,
    name          jsonb NOT NULL,
    rank          int NOT NULL,
    presentation  jsonb,
    CONSTRAINT a_category_code_is_unique UNIQUE (code),
    CONSTRAINT a_category_has_a_name_per_language CHECK (jsonb_typeof(name) = 'object'),
    CONSTRAINT a_category_stands_below_its_parent
        CHECK (parent_id IS NOT DISTINCT FROM above[cardinality(above)])
);

-- What a category asks of its products and those below. The same code further down narrows it.
CREATE TABLE catalogue.attributes (
    category_id  bigint NOT NULL REFERENCES catalogue.categories,
    code         text NOT NULL,
    name         jsonb NOT NULL,
    kind         text NOT NULL,
    level        text NOT NULL,
    is_required  boolean NOT NULL,
    unit         text,
    choices      jsonb NOT NULL,
    lowest       float8,
    highest      float8,
    rank         int NOT NULL,
    PRIMARY KEY (category_id, code),
    CONSTRAINT an_attribute_has_a_type
        CHECK (kind IN ('text', 'number', 'choice', 'boolean', 'date')),
    CONSTRAINT an_attribute_is_of_a_product_or_a_sku CHECK (level IN ('product', 'sku')),
    CONSTRAINT an_attribute_has_a_name_per_language CHECK (jsonb_typeof(name) = 'object'),
    CONSTRAINT a_choice_has_choices
        CHECK ((kind = 'choice') = (jsonb_array_length(choices) > 0)),
    CONSTRAINT only_numbers_have_bounds_and_units
        CHECK (kind = 'number' OR (unit IS NULL AND lowest IS NULL AND highest IS NULL)),
    CONSTRAINT bounds_leave_room_for_a_number CHECK (lowest <= highest)
);

ALTER TABLE catalogue.products
    ADD COLUMN category_id bigint REFERENCES catalogue.categories,
    ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT a_product_has_a_value_per_attribute
        CHECK (jsonb_typeof(attributes) = 'object');

ALTER TABLE catalogue.skus
    ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT a_sku_has_a_value_per_attribute CHECK (jsonb_typeof(attributes) = 'object');
