-- Credits that plans grant, what was used past them, and grants for a path.
-- depends: 0001.initial

ALTER TABLE subscription ADD next_grant timestamptz;
CREATE INDEX subscription_next_grant ON subscription (next_grant) WHERE next_grant IS NOT NULL;

ALTER TABLE credit_grant ADD scope_path text COLLATE "C";
ALTER TABLE credit_grant ADD subscription text COLLATE "C";
ALTER TABLE credit_grant ADD credit text COLLATE "C";
ALTER TABLE credit_grant ADD step_start timestamptz;
ALTER TABLE credit_grant ADD step_units numeric;
ALTER TABLE credit_grant ADD UNIQUE (customer, subscription, credit, step_start, step_units);

CREATE TABLE overage (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    boundary timestamptz NOT NULL,
    asset text COLLATE "C" NOT NULL,
    invoice text COLLATE "C" NOT NULL,
    plan text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    quantity numeric NOT NULL CHECK (quantity > 0),
    unit_price numeric NOT NULL,
    billed boolean NOT NULL,
    PRIMARY KEY (customer, subscription, boundary, asset),
    FOREIGN KEY (customer, subscription) REFERENCES subscription (customer, id)
);
