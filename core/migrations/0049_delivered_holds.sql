-- The days of escrow count from the moment when all of an order is there: until then nobody releases it by its age.
ALTER TABLE ledger.holds ADD COLUMN delivered_at timestamptz;

-- contract: the statement that released by the age of the hold reads the one below
DROP INDEX ledger.holds_by_age;
CREATE INDEX holds_by_delivery ON ledger.holds (delivered_at) WHERE state = 'held';
