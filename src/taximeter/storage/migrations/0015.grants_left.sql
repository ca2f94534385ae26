-- depends: 0001.initial

-- Whether anything is left of a grant: so that a decision finds the grants it may draw from without
-- looking at those that were used up. An update that leaves it as it was touches no index.
ALTER TABLE credit_grant
    ADD has_left boolean NOT NULL GENERATED ALWAYS AS (remaining > 0 AND voided_at IS NULL) STORED;
CREATE INDEX credit_grant_left ON credit_grant
    (customer, asset, (COALESCE(expires_at, 'infinity'::timestamptz))) WHERE has_left;
