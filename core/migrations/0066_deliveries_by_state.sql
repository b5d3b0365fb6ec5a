-- A subscription's deliveries are listed state by state.
CREATE INDEX deliveries_by_state ON webhooks.deliveries (subscription_id, state, id);
-- contract: the index above stands in its place
DROP INDEX webhooks.deliveries_by_subscription;
