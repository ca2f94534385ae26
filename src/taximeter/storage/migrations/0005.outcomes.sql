-- Outcomes: usage that is billed once it is confirmed.
-- depends: 0001.initial

-- What was to be achieved, and whether it was: usage of prices by outcome is billed by its state.
-- share is the part billed now, confirm_at when it confirms itself, confirmed_at when it was first
-- confirmed; events and steps are how many of its events and decisions there are.
CREATE TABLE outcome (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL
        CHECK (state IN ('pending', 'confirmed', 'partial', 'disputed', 'failed', 'reversed')),
    share numeric NOT NULL CHECK (share >= 0 AND share <= 1),
    human_review boolean NOT NULL,
    opened_at timestamptz NOT NULL,
    confirm_at timestamptz,
    confirmed_at timestamptz,
    reversible_s bigint,
    events bigint NOT NULL,
    steps bigint NOT NULL,
    PRIMARY KEY (customer, id)
) WITH (fillfactor = 70);
CREATE INDEX outcome_confirm ON outcome (confirm_at) WHERE confirm_at IS NOT NULL;
CREATE INDEX outcome_undecided ON outcome (customer, state, id)
    WHERE state IN ('pending', 'disputed');

-- The events of an outcome: attempt is the event's place among them, for each meter that reads it
-- for a price by outcome.
CREATE TABLE outcome_event (
    customer text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    attempt bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer, outcome, meter, attempt)
);
CREATE INDEX outcome_event_event ON outcome_event (customer, source, event);

-- Each decision about an outcome, append-only. share is what is billed after it.
CREATE TABLE outcome_step (
    customer text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    step bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    share numeric NOT NULL,
    human_review boolean NOT NULL,
    reason text,
    evidence text,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (customer, outcome, step)
);
