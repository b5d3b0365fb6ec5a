-- Alerts that are over stay, and nobody asks for them: those that are not are listed place by place.
CREATE INDEX open_alerts_by_place ON inventory.alerts (place_id, id) WHERE cleared_at IS NULL;
