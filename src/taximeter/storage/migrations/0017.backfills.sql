-- depends: 0001.initial

-- Usage that is loaded for a span of the past, looked at, applied and perhaps reverted. types are
-- the event types that it is about; a backfill of kind `meter` counts events anew by the newest
-- version of the meter. started_at: when it was first applied; what came later it leaves alone.
CREATE TABLE backfill (
    id text COLLATE "C" PRIMARY KEY,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('events', 'meter')),
    customer text COLLATE "C",
    types text[] NOT NULL,
    meter text COLLATE "C",
    span_start timestamptz NOT NULL,
    span_end timestamptz NOT NULL,
    replaces boolean NOT NULL,
    reason text NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN
        ('open', 'applying', 'applied', 'incomplete', 'discarded', 'reverting', 'reverted')),
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz
);

-- The events of a backfill as they were loaded. outcome is what became of each when it was applied
-- (null: it was not yet).
CREATE TABLE backfill_event (
    customer text COLLATE "C" NOT NULL,
    backfill text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL,
    path text COLLATE "C",
    subscription text COLLATE "C",
    digest bytea NOT NULL,
    data jsonb NOT NULL,
    attributes jsonb,
    outcome text COLLATE "C",
    PRIMARY KEY (customer, backfill, source, id)
);
CREATE INDEX backfill_event_backfill ON backfill_event (backfill, customer);

-- How far a backfill is with each customer: events it voided, amended, added, set aside and refused;
-- problem is why it could not be applied.
CREATE TABLE backfill_customer (
    customer text COLLATE "C" NOT NULL,
    backfill text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'applied', 'failed', 'reverted')),
    voided bigint NOT NULL DEFAULT 0,
    amended bigint NOT NULL DEFAULT 0,
    added bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    problem jsonb,
    PRIMARY KEY (customer, backfill)
);
CREATE INDEX backfill_customer_backfill ON backfill_customer (backfill, state, customer);
