-- depends: 0001.initial

-- The features that a plan version or an agreement has ever named.
CREATE TABLE feature (
    key text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL
);

-- What was agreed with one customer for a feature, in place of what plans say of it: entries as
-- they were written.
CREATE TABLE customer_entitlement (
    customer text COLLATE "C" NOT NULL,
    feature text COLLATE "C" NOT NULL,
    entries jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (customer, feature),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
