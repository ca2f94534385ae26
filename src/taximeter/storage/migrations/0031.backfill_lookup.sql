-- depends: 0001.initial

-- Whether an event is among those that were loaded is asked event by event. Every index that may be
-- taken for it names the whole key, so that statistics of yesterday cannot make it a walk.
DROP INDEX backfill_event_backfill;
CREATE INDEX backfill_event_backfill ON backfill_event (backfill, customer, source, id);
