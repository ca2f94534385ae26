-- depends: 0001.initial

-- What a customer's open holds reserve: the one row that whoever decides about its holds locks.
-- counters are sums over the holds' own counters, less those of holds that expired by swept_until.
-- No open hold expires between swept_until and next_expiry (null: none does at all).
CREATE TABLE hold_account (
    customer text COLLATE "C" PRIMARY KEY,
    swept_until timestamptz NOT NULL,
    next_expiry timestamptz,
    counters json NOT NULL
) WITH (fillfactor = 50);

-- A reservation. An open one counts until expires_at, whether or not anybody looks. counters is
-- what it adds to its customer's; resolution is the digest of what resolved it, answer what was
-- answered, captured what was charged by asset.
CREATE TABLE hold (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('open', 'captured', 'released')),
    amounts json NOT NULL,
    path text COLLATE "C",
    feature text COLLATE "C",
    quantity numeric NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    counters json NOT NULL,
    resolved_at timestamptz,
    late boolean,
    captured jsonb,
    resolution bytea,
    answer bytea,
    PRIMARY KEY (customer, id)
) WITH (fillfactor = 80);
CREATE INDEX hold_id ON hold (id);
CREATE INDEX hold_open ON hold (customer, expires_at) WHERE state = 'open';

CREATE TABLE budget (
    customer text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    path text COLLATE "C",
    asset text COLLATE "C" NOT NULL,
    limit_amount numeric NOT NULL CHECK (limit_amount >= 0),
    "window" text COLLATE "C" NOT NULL,
    enforcement text COLLATE "C" NOT NULL CHECK (enforcement IN ('hard', 'soft')),
    alerts numeric[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (customer, name),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);

-- What was charged within a budget, by the window in which it was charged.
CREATE TABLE budget_spend (
    customer text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    spent numeric NOT NULL,
    PRIMARY KEY (customer, name, window_start)
) WITH (fillfactor = 70);

-- For what nothing new is authorized; path '': the whole customer.
CREATE TABLE suspension (
    customer text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (customer, path),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
