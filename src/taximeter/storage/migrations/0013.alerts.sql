-- depends: 0001.initial

-- What is told of a customer, beside the shares of its budgets: kind 'balance' (of asset, at or
-- below the thresholds), 'spend' (of asset in a window) or 'allowance' (shares of a feature's).
CREATE TABLE alert_definition (
    customer text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('balance', 'spend', 'allowance')),
    asset text COLLATE "C",
    feature text COLLATE "C",
    "window" text COLLATE "C",
    thresholds numeric[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (customer, name),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);

-- What was told: each threshold once in a window, and where ordinal counts (a balance), once until
-- it is armed again. data holds the figures then.
CREATE TABLE alert (
    customer text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    ordinal integer NOT NULL,
    threshold numeric NOT NULL,
    id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    rearmed_at timestamptz,
    data jsonb NOT NULL,
    PRIMARY KEY (customer, kind, name, window_start, ordinal, threshold)
);
CREATE INDEX alert_id ON alert (id);
CREATE INDEX alert_customer ON alert (customer, id);

-- What happened and is to be told to the world, written with the change itself; in the order of
-- seq. body is sent as it stands.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    at timestamptz NOT NULL,
    type text COLLATE "C" NOT NULL,
    customer text COLLATE "C",
    body text NOT NULL,
    dispatched_at timestamptz
);
CREATE INDEX outbox_waiting ON outbox (seq) WHERE dispatched_at IS NULL;

-- events: the types it is told, or '*'. The secret signs, so it is kept as it is.
CREATE TABLE webhook_endpoint (
    id text COLLATE "C" PRIMARY KEY,
    url text NOT NULL,
    events text[] NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    disabled_reason text,
    deleted_at timestamptz
);

-- A message on its way to an endpoint. A pending one is tried at next_at, which is moved on before
-- each attempt: what dies with its process is tried again. tries counts since it was asked for
-- last, attempts all.
CREATE TABLE webhook_delivery (
    id text COLLATE "C" PRIMARY KEY,
    message text COLLATE "C" NOT NULL REFERENCES outbox (id),
    endpoint text COLLATE "C" NOT NULL REFERENCES webhook_endpoint (id),
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL,
    tries integer NOT NULL,
    next_at timestamptz,
    created_at timestamptz NOT NULL,
    attempted_at timestamptz,
    answer_status integer,
    answer_text text,
    UNIQUE (message, endpoint)
) WITH (fillfactor = 80);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint, next_at) WHERE state = 'pending';
