-- Levels of `weighted_sum` meters, and which bills a change of them may touch.
-- depends: 0001.initial

CREATE TABLE usage_level (
    customer text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    dimensions text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    event bytea NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (customer, meter, subscription, dimensions, time, received_at, event)
);

CREATE TABLE level_change (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (customer, subscription, meter)
);
