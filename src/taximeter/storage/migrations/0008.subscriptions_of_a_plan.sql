-- depends: 0001.initial

CREATE INDEX subscription_phase_plan ON subscription_phase (plan, customer, subscription);
