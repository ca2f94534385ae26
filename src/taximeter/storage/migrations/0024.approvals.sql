-- depends: 0012.budgets

-- A hold that needs more than this has to be approved; null: none has.
ALTER TABLE budget ADD COLUMN approve_above numeric CHECK (approve_above >= 0);

-- Work that costs more than a budget's threshold, for which somebody was asked. allowed, uses: how
-- much each hold may need, and how many holds, once it is approved; used: how many did.
-- path '': of the whole customer; feature '': of none. stands: whoever asks for the same is told
-- this one; until it ends or is used up.
CREATE TABLE approval (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    budget text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    amount numeric NOT NULL,
    feature text COLLATE "C" NOT NULL,
    threshold numeric NOT NULL,
    set_by text COLLATE "C" NOT NULL CHECK (set_by IN ('seller', 'customer')),
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    decision text COLLATE "C" CHECK (decision IN ('approved', 'declined')),
    allowed numeric,
    uses integer NOT NULL,
    used integer NOT NULL CHECK (used <= uses),
    stands boolean NOT NULL,
    decided_at timestamptz,
    decided_by text,
    decided_as text COLLATE "C" CHECK (decided_as IN ('seller', 'customer')),
    PRIMARY KEY (customer, id)
);
CREATE INDEX approval_id ON approval (id);
CREATE INDEX approval_open ON approval (id) WHERE decision IS NULL;
CREATE UNIQUE INDEX approval_same ON approval (customer, budget, path, asset, amount, feature)
    WHERE stands;

-- The holds that were placed by an approval.
CREATE TABLE approval_use (
    customer text COLLATE "C" NOT NULL,
    approval text COLLATE "C" NOT NULL,
    hold text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (customer, approval, hold)
);
