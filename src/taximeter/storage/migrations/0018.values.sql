-- depends: 0001.initial

-- How often each value of a `percentile` meter came in a segment: its total is one of them.
CREATE TABLE usage_value (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    price text COLLATE "C" NOT NULL,
    period_start timestamptz NOT NULL,
    meter text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    dimensions text COLLATE "C" NOT NULL,
    value numeric NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (customer, subscription, price, period_start, meter, version, dimensions, value)
) WITH (fillfactor = 70);
