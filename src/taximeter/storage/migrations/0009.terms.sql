-- depends: 0001.initial

-- The term of a contract that renews itself, an ISO 8601 duration (null: it does not).
ALTER TABLE subscription ADD term text COLLATE "C";
