-- depends: 0001.initial

-- The row of an event is the event as it counts now; what it was before each correction stays here,
-- append-only: its status, time, path and content up to then. number is the correction's place
-- among those of its event; backfill names the one that made it, if any.
CREATE TABLE event_correction (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('void', 'amend', 'restore')),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    backfill text COLLATE "C",
    status text COLLATE "C" NOT NULL,
    waited_for text COLLATE "C",
    time timestamptz NOT NULL,
    path text COLLATE "C",
    data jsonb NOT NULL,
    counted_at timestamptz,
    PRIMARY KEY (customer, source, id, number)
);
CREATE INDEX event_correction_backfill ON event_correction (customer, backfill, source, id)
    WHERE backfill IS NOT NULL;

-- A void event counts nowhere; its identity stays taken. counted_at: as of when the meters read it,
-- where that is not when it was received.
ALTER TABLE event DROP CONSTRAINT event_status_check;
ALTER TABLE event ADD CONSTRAINT event_status_check
    CHECK (status IN ('accepted', 'quarantined', 'void'));
ALTER TABLE event ADD counted_at timestamptz;
CREATE INDEX event_void ON event (customer, time, source, id) WHERE status = 'void';
