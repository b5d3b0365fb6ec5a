-- Which payouts wait, and which failed, without a look at all that were paid.
CREATE INDEX payouts_by_state ON ledger.payouts (state, id);
