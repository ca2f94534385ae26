-- depends: 0013.alerts

-- When a balance that is told may next change by itself, with a grant that begins or ends.
ALTER TABLE alert_definition ADD look_at timestamptz;
CREATE INDEX alert_definition_look ON alert_definition (look_at) WHERE look_at IS NOT NULL;
