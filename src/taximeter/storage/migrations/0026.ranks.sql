-- depends: 0001.initial

-- Of a `percentile` meter: how many of the events lie below the value that the total is (NULL: not
-- known; then the next batch walks all values once).
ALTER TABLE usage_total ADD COLUMN below bigint;
