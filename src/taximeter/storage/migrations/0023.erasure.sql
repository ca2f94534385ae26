-- depends: 0022.archive

-- Personal data of a customer that was asked to be erased: how far that is. source_after and
-- id_after: the last event in the database that was looked at; finished_at is null while it goes on.
CREATE TABLE erasure (
    customer text COLLATE "C" PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    source_after text COLLATE "C",
    id_after text COLLATE "C",
    events bigint NOT NULL,
    finished_at timestamptz,
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
CREATE INDEX erasure_open ON erasure (customer) WHERE finished_at IS NULL;

-- When a file was last written without what no meter reads of the customer's events.
ALTER TABLE archive_part ADD COLUMN reduced_at timestamptz;
