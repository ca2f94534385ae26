-- depends: 0001.initial

-- What a customer agreed beside the plan, and what each phase was told itself. Phases made before
-- this were told everything.
ALTER TABLE subscription_phase
    ADD deal jsonb NOT NULL DEFAULT '{}',
    ADD said jsonb;
