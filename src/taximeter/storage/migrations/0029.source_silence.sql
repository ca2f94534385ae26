-- depends: 0021.sources 0027.bounds

-- The last word of each source: `at` its own clock, and the instant at which it is overdue if nothing
-- comes after it; none: it need say no more.
CREATE TABLE source_silence (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    silent_at timestamptz,
    PRIMARY KEY (customer, source)
) WITH (fillfactor = 70);
INSERT INTO source_silence (customer, source, at, silent_at)
SELECT DISTINCT ON (customer, source) customer, source, at,
    received_at + silence_after_s * interval '1 second'
FROM source_heartbeat ORDER BY customer, source, hour DESC;
CREATE INDEX source_silence_due ON source_silence (silent_at)
    WHERE silent_at IS NOT NULL;

-- Was for looking at what has come since.
DROP INDEX source_heartbeat_received;
