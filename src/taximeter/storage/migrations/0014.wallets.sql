-- depends: 0001.initial

-- What was taken out of a grant otherwise than by use: rare, and not written with usage.
CREATE INDEX wallet_entry_grant ON wallet_entry (customer, grant_id, id)
    WHERE kind IN ('void', 'transfer', 'rollover');

-- Below what available balance a wallet is topped up, to what, and how much of it at most a day and
-- a month of the customer's. A wallet is looked at when check_at comes; nothing is asked for before
-- quiet_until.
CREATE TABLE auto_topup (
    customer text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    threshold numeric NOT NULL CHECK (threshold >= 0),
    target numeric NOT NULL CHECK (target > threshold),
    max_per_day numeric NOT NULL CHECK (max_per_day > 0),
    max_per_month numeric CHECK (max_per_month > 0),
    expires_after text COLLATE "C",
    payment text COLLATE "C" NOT NULL CHECK (payment IN ('gateway', 'manual')),
    check_at timestamptz,
    quiet_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (customer, asset),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
CREATE INDEX auto_topup_check ON auto_topup (check_at) WHERE check_at IS NOT NULL;

-- A top-up that was asked for. One at most of a wallet is open. price is what it costs; the payment
-- gateway is asked at charge_at (null: somebody else collects), attempts times so far.
CREATE TABLE topup (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    price numeric,
    price_asset text COLLATE "C",
    expires_after text COLLATE "C",
    state text COLLATE "C" NOT NULL CHECK (state IN ('requested', 'paid', 'failed')),
    requested_at timestamptz NOT NULL,
    charge_at timestamptz,
    attempts integer NOT NULL,
    settled_at timestamptz,
    reference text,
    reason text,
    grant_id text COLLATE "C",
    PRIMARY KEY (customer, id)
);
CREATE UNIQUE INDEX topup_open ON topup (customer, asset) WHERE state = 'requested';
CREATE INDEX topup_id ON topup (id);
CREATE INDEX topup_charge ON topup (charge_at) WHERE charge_at IS NOT NULL;
