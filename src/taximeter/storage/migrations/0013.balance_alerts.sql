-- depends: 0013.alerts

-- Until when it was looked for balances that changed by themselves, with grants that begin or end.
ALTER TABLE alert_definition ADD looked_at timestamptz;
