-- What staff look through: every product, in whatever state. Codes of SKUs are asked for by themselves.
CREATE FUNCTION catalogue.words_of(code text, title jsonb, description jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN catalogue.words((SELECT coalesce(string_agg(value, ' '), '') FROM jsonb_each_text(title))
                       || ' ' || coalesce(code, ''), 'A')
    || catalogue.words((SELECT string_agg(value, ' ') FROM jsonb_each_text(description)), 'B');

CREATE INDEX products_by_words ON catalogue.products
 USING gin (catalogue.words_of(code, title, description));
