-- depends: 0001.initial

-- The content of old events in Parquet files: one row a file. settled_at is null while its events
-- are still being taken out of `event`.
CREATE TABLE archive (
    number integer PRIMARY KEY,
    path text NOT NULL,
    sha256 bytea NOT NULL,
    bytes bigint NOT NULL,
    rows bigint NOT NULL,
    customer_first text COLLATE "C" NOT NULL,
    customer_last text COLLATE "C" NOT NULL,
    time_first timestamptz NOT NULL,
    time_last timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    settled_at timestamptz
);

-- What of a customer's events is in which file.
CREATE TABLE archive_part (
    customer text COLLATE "C" NOT NULL,
    archive integer NOT NULL,
    rows bigint NOT NULL,
    time_first timestamptz NOT NULL,
    time_last timestamptz NOT NULL,
    PRIMARY KEY (customer, archive)
);

-- Who was there, for ever: identities of archived events, packed into blocks of a customer. A block
-- holds the keys from first up to the next block's first, in order, each as 16 bytes of the SHA-256
-- of source, a zero and id; 16 bytes of the event's digest; and 4 bytes: the file it is in now.
-- An event is here or in `event`; while it is in both it counts as it is there.
CREATE TABLE event_identity (
    customer text COLLATE "C" NOT NULL,
    first bytea NOT NULL,
    entries bytea NOT NULL,
    PRIMARY KEY (customer, first)
);
ALTER TABLE event_identity ALTER entries SET STORAGE EXTERNAL;

-- Whether identities of the customer are looked for in event_identity, too.
ALTER TABLE customer ADD COLUMN archived boolean NOT NULL DEFAULT false;
