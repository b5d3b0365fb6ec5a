-- Few transfers are planned or under way at a time, among all that ever were.
CREATE INDEX transfers_not_over ON inventory.transfers (id) WHERE state IN ('planned', 'sent');
