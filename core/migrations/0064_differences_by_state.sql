-- Differences are listed state by state, and those of a statement that are open are counted.
CREATE INDEX differences_by_state ON reconciliation.differences (state, id);
CREATE INDEX open_differences_by_statement ON reconciliation.differences (statement_id) WHERE state = 'open';
-- contract: the first index above stands in its place
DROP INDEX reconciliation.open_differences_in_order;
