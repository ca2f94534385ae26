-- depends: 0001.initial

-- What a source said of itself: the last heartbeat of each hour of its own clock. sent counts its
-- events with a time before `at`, since it began; customer '' means of all customers together.
CREATE TABLE source_heartbeat (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    sent bigint NOT NULL CHECK (sent >= 0),
    silence_after_s bigint,
    PRIMARY KEY (customer, source, hour)
) WITH (fillfactor = 70);
CREATE INDEX source_heartbeat_source ON source_heartbeat (source, hour);

-- Events of a source that were not stored, because they were there already (duplicates) or their
-- identity was, with other content (conflicts); by the hour in which they were received.
CREATE TABLE source_repeat (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    duplicates bigint NOT NULL,
    conflicts bigint NOT NULL,
    PRIMARY KEY (customer, source, hour)
) WITH (fillfactor = 70);

-- The numbers that producers give their events. An event without one stands in no entry of it.
CREATE INDEX event_sequence ON event (source, ((attributes ->> 'sequence')::bigint))
    WHERE attributes ->> 'sequence' ~ '^[0-9]{1,18}$';
