-- When a plan's versions come into force, and which plans are retired.
-- depends: 0001.initial

-- effective_at: when the version comes into force (null: when it was made).
-- cancelled_at: taken back before it came into force; its number stays taken.
ALTER TABLE plan_version ADD COLUMN effective_at timestamptz;
ALTER TABLE plan_version ADD COLUMN cancelled_at timestamptz;

-- A plan's family stands in its document.
CREATE INDEX plan_version_family ON plan_version ((document ->> 'family'), plan)
    WHERE document ? 'family';

-- Plans that take no new subscriptions.
CREATE TABLE plan_retirement (
    plan text COLLATE "C" PRIMARY KEY,
    retired_at timestamptz NOT NULL
);
