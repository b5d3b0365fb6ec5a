-- A transfer arrives in as many parts as it likes. What never comes is written off, with a reason.
ALTER TABLE inventory.transfer_lines ADD COLUMN lost bigint NOT NULL DEFAULT 0;

UPDATE inventory.transfer_lines
   SET lost = CASE state WHEN 'arrived' THEN quantity - arrived ELSE 0 END,
       arrived = coalesce(arrived, 0)
  FROM inventory.transfers WHERE transfers.id = transfer_id;

ALTER TABLE inventory.transfer_lines ALTER COLUMN arrived SET DEFAULT 0;
-- contract: whoever writes a line leaves it out, and it has a default now
ALTER TABLE inventory.transfer_lines ALTER COLUMN arrived SET NOT NULL;
ALTER TABLE inventory.transfer_lines
  ADD CONSTRAINT nothing_is_lost_below_zero CHECK (lost >= 0),
  ADD CONSTRAINT no_more_comes_to_an_end_than_was_sent CHECK (arrived + lost <= quantity);

-- Losses from before have none, and the past is never changed.
ALTER TABLE inventory.movements ADD COLUMN reason text;
ALTER TABLE inventory.movements
  ADD CONSTRAINT what_is_lost_has_a_reason CHECK (kind <> 'lose' OR reason IS NOT NULL) NOT VALID;
