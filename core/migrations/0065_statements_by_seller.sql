-- The constraint that orders a seller's statements knows their currency first, and a list of them does not.
CREATE INDEX statements_by_seller ON ledger.statements (seller_id, id);
