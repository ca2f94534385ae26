-- depends: 0001.initial

-- What a consumer of a stream could not deliver: the item-th event of a message, where the message
-- lies, and why. digest is of the content, so that what comes again is known and what is new in an
-- old place (a topic that was made anew) is not lost.
CREATE TABLE dead_letter (
    stream text COLLATE "C" NOT NULL,
    "position" text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    digest bytea NOT NULL,
    id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    event_id text COLLATE "C",
    path text NOT NULL,
    code text COLLATE "C" NOT NULL,
    detail text NOT NULL,
    bytes bigint NOT NULL,
    encoding text COLLATE "C" NOT NULL CHECK (encoding IN ('text', 'base64')),
    content text NOT NULL,
    resolved_at timestamptz,
    resolution text,
    PRIMARY KEY (stream, "position", item, digest)
);
CREATE UNIQUE INDEX dead_letter_id ON dead_letter (id);
CREATE INDEX dead_letter_open ON dead_letter (id) WHERE resolved_at IS NULL;
