-- Staff list products in one state; a category that moves looks at its own.
CREATE INDEX products_by_state ON catalogue.products (state, id);
CREATE INDEX products_by_category ON catalogue.products (category_id, id);
