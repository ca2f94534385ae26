-- depends: 0001.initial

-- Values of a meter's dimension that are kept apart for a customer in a month (UTC), in the order in
-- which they came; from `dimension_limit` of them on, all others are counted together. transaction is
-- the one that kept the value: until it has committed no process remembers that.
CREATE TABLE usage_dimension (
    customer text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    month timestamptz NOT NULL,
    name text COLLATE "C" NOT NULL,
    ordinal integer NOT NULL,
    value text COLLATE "C" NOT NULL,
    transaction xid8 NOT NULL,
    PRIMARY KEY (customer, meter, version, month, name, ordinal),
    UNIQUE (customer, meter, version, month, name, value)
);
