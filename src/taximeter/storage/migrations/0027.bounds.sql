-- depends: 0001.initial

-- The oldest first answers are forgotten, portion by portion.
CREATE INDEX idempotency_created ON idempotency (created_at);

-- What has come since the last look.
CREATE INDEX source_heartbeat_received ON source_heartbeat (received_at);
