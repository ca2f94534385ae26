-- The declared schema: what a database must look like after all migrations. storage/migrations
-- builds it, and a test compares the two.
--
-- Everything that grows with customers is keyed by `customer` first, so that one customer's
-- decision touches one shard. No trigger, sequence or advisory lock decides anything about money;
-- every time and id comes from the application.

-- One row: what this instance is. clock_at is the test clock of a sandbox (null: real time).
CREATE TABLE instance (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    created_at timestamptz NOT NULL,
    clock_at timestamptz
);

-- What changed, for caches: a customer (its settings and subscriptions), or null for the catalog.
-- Ingestion takes SHARE on this table first, so it never prices by what a committed change replaced.
CREATE TABLE cache_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer text COLLATE "C",
    at timestamptz NOT NULL
);

CREATE TABLE api_key (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    customer text COLLATE "C",
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    rate_requests integer,
    rate_per text,
    path text
);

-- The first answer to a request that carried an Idempotency-Key.
CREATE TABLE idempotency (
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL,
    status integer NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE audit (
    id text COLLATE "C" PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL
);

-- counts_from: from when on a version reads what is counted, later than all that was counted before
-- it, to the microsecond; none: since it was created.
CREATE TABLE meter (
    key text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    counts_from timestamptz,
    PRIMARY KEY (key, version)
);

CREATE TABLE plan_version (
    plan text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    effective_at timestamptz,
    cancelled_at timestamptz,
    PRIMARY KEY (plan, version)
);
CREATE INDEX plan_version_family ON plan_version ((document ->> 'family'), plan)
    WHERE document ? 'family';

-- Plans that take no new subscriptions.
CREATE TABLE plan_retirement (
    plan text COLLATE "C" PRIMARY KEY,
    retired_at timestamptz NOT NULL
);

-- archived: identities of its events are looked for in event_identity, too.
CREATE TABLE customer (
    customer text COLLATE "C" PRIMARY KEY,
    document jsonb NOT NULL,
    currency text NOT NULL,
    timezone text NOT NULL,
    enforcement text NOT NULL CHECK (enforcement IN ('hard', 'soft')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived boolean NOT NULL DEFAULT false
);

-- An event as it counts now; digest is that of its first content, for ever. A void one counts
-- nowhere. counted_at: as of when the meters read it, where that is not when it was received.
CREATE TABLE event (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (status IN ('accepted', 'quarantined', 'void')),
    reason text COLLATE "C",
    path text COLLATE "C",
    subscription text COLLATE "C",
    digest bytea NOT NULL,
    data jsonb NOT NULL,
    attributes jsonb,
    counted_at timestamptz,
    PRIMARY KEY (customer, source, id)
);
CREATE INDEX event_time ON event (customer, time);
CREATE INDEX event_quarantined ON event (customer, time, source, id) WHERE status = 'quarantined';
-- The numbers that producers give their events. An event without one stands in no entry of it.
CREATE INDEX event_sequence ON event (source, ((attributes ->> 'sequence')::bigint))
    WHERE attributes ->> 'sequence' ~ '^[0-9]{1,18}$';
-- The events of runs, by trace. An event without one stands in no entry of it.
CREATE INDEX event_trace ON event (
    customer,
    (left(COALESCE(attributes ->> 'trace_id', substr(attributes ->> 'traceparent', 4, 32)), 256))
) WHERE attributes ?| ARRAY['trace_id', 'traceparent'] AND status = 'accepted';
CREATE INDEX event_void ON event (customer, time, source, id) WHERE status = 'void';

-- What an event was before each of its corrections, append-only: its status, time, path and content
-- up to then. number is the correction's place among those of its event; backfill names the one
-- that made it, if any.
CREATE TABLE event_correction (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('void', 'amend', 'restore')),
    at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    backfill text COLLATE "C",
    status text COLLATE "C" NOT NULL,
    waited_for text COLLATE "C",
    time timestamptz NOT NULL,
    path text COLLATE "C",
    data jsonb NOT NULL,
    counted_at timestamptz,
    PRIMARY KEY (customer, source, id, number)
);
CREATE INDEX event_correction_backfill ON event_correction (customer, backfill, source, id)
    WHERE backfill IS NOT NULL;

-- The content of old events in Parquet files: one row a file. settled_at is null while its events
-- are still being taken out of `event`.
CREATE TABLE archive (
    number integer PRIMARY KEY,
    path text NOT NULL,
    sha256 bytea NOT NULL,
    bytes bigint NOT NULL,
    rows bigint NOT NULL,
    customer_first text COLLATE "C" NOT NULL,
    customer_last text COLLATE "C" NOT NULL,
    time_first timestamptz NOT NULL,
    time_last timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    settled_at timestamptz
);

-- What of a customer's events is in which file. reduced_at: when the file was last written without
-- what no meter reads of them.
CREATE TABLE archive_part (
    customer text COLLATE "C" NOT NULL,
    archive integer NOT NULL,
    rows bigint NOT NULL,
    time_first timestamptz NOT NULL,
    time_last timestamptz NOT NULL,
    reduced_at timestamptz,
    PRIMARY KEY (customer, archive)
);

-- Who was there, for ever: identities of archived events, packed into blocks of a customer. A block
-- holds the keys from first up to the next block's first, in order, each as 16 bytes of the SHA-256
-- of source, a zero and id; 16 bytes of the event's digest; and 4 bytes: the file it is in now.
-- An event is here or in `event`; while it is in both it counts as it is there.
CREATE TABLE event_identity (
    customer text COLLATE "C" NOT NULL,
    first bytea NOT NULL,
    entries bytea NOT NULL,
    PRIMARY KEY (customer, first)
);
ALTER TABLE event_identity ALTER entries SET STORAGE EXTERNAL;
-- Usage that is loaded for a span of the past, looked at, applied and perhaps reverted. types are
-- the event types that it is about; a backfill of kind `meter` counts events anew by the newest
-- version of the meter. started_at: when it was first applied; what came later it leaves alone.
CREATE TABLE backfill (
    id text COLLATE "C" PRIMARY KEY,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('events', 'meter')),
    customer text COLLATE "C",
    types text[] NOT NULL,
    meter text COLLATE "C",
    span_start timestamptz NOT NULL,
    span_end timestamptz NOT NULL,
    replaces boolean NOT NULL,
    reason text NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN
        ('open', 'applying', 'applied', 'incomplete', 'discarded', 'reverting', 'reverted')),
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz
);

-- The events of a backfill as they were loaded. outcome is what became of each when it was applied
-- (null: it was not yet); what it says is in `event` then.
CREATE TABLE backfill_event (
    customer text COLLATE "C" NOT NULL,
    backfill text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL,
    path text COLLATE "C",
    subscription text COLLATE "C",
    digest bytea NOT NULL,
    data jsonb NOT NULL,
    attributes jsonb,
    outcome text COLLATE "C",
    PRIMARY KEY (customer, backfill, source, id)
);
CREATE INDEX backfill_event_backfill ON backfill_event (backfill, customer, source, id);

-- How far a backfill is with each customer: events it voided, amended, added, set aside and refused;
-- problem is why it could not be applied.
CREATE TABLE backfill_customer (
    customer text COLLATE "C" NOT NULL,
    backfill text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'applied', 'failed', 'reverted')),
    voided bigint NOT NULL DEFAULT 0,
    amended bigint NOT NULL DEFAULT 0,
    added bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    problem jsonb,
    PRIMARY KEY (customer, backfill)
);
CREATE INDEX backfill_customer_backfill ON backfill_customer (backfill, state, customer);

-- Personal data of a customer that was asked to be erased: how far that is. source_after and
-- id_after: the last event in the database that was looked at; finished_at is null while it goes on.
CREATE TABLE erasure (
    customer text COLLATE "C" PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    source_after text COLLATE "C",
    id_after text COLLATE "C",
    events bigint NOT NULL,
    finished_at timestamptz,
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
CREATE INDEX erasure_open ON erasure (customer) WHERE finished_at IS NULL;

-- The running total of one price over one segment (period_start to period_end) of a billing
-- period, apart by meter version and dimensions: what invoices read. previous is the quantity
-- before the last change; billed is what finalized invoices have counted. below, of a `percentile`
-- meter, is how many of the events lie below the value that the total is (NULL: not known).
CREATE TABLE usage_total (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    price text COLLATE "C" NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    meter text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    dimensions text COLLATE "C" NOT NULL,
    aggregation text COLLATE "C" NOT NULL,
    quantity numeric NOT NULL,
    previous numeric NOT NULL,
    billed numeric,
    events bigint NOT NULL,
    latest text COLLATE "C",
    below bigint,
    PRIMARY KEY (customer, subscription, price, period_start, meter, version, dimensions)
) WITH (fillfactor = 70);

-- Usage by UTC hour, whatever prices it: what charts and usage queries read.
CREATE TABLE usage_bucket (
    customer text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    bucket_start timestamptz NOT NULL,
    dimensions text COLLATE "C" NOT NULL,
    aggregation text COLLATE "C" NOT NULL,
    quantity numeric NOT NULL,
    events bigint NOT NULL,
    latest text COLLATE "C",
    PRIMARY KEY (customer, meter, bucket_start, version, dimensions)
) WITH (fillfactor = 70);

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

-- Distinct values of a `unique` meter in a segment: member is a digest of dimensions and value.
CREATE TABLE usage_member (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    price text COLLATE "C" NOT NULL,
    period_start timestamptz NOT NULL,
    meter text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    member bytea NOT NULL,
    PRIMARY KEY (customer, subscription, price, period_start, meter, version, member)
);

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

-- Each level that an event of a `weighted_sum` meter set (of a signed meter: by what it changed).
-- A level holds until the next of the same dimensions; subscription is '' where the event named
-- none. event is a digest of source and id, which decide between equal times and receipts.
CREATE TABLE usage_level (
    customer text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    dimensions text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    event bytea NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (customer, meter, subscription, dimensions, time, received_at, event)
);

-- The earliest time of the levels that came since a subscription's last final invoice: what it
-- billed from then on is looked at again with the next.
CREATE TABLE level_change (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (customer, subscription, meter)
);

CREATE TABLE subscription (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C",
    anchor_local timestamp NOT NULL,
    timezone text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    cancelled_at timestamptz,
    term_ends_at timestamptz,
    credit_unused boolean NOT NULL,
    net_terms_days integer NOT NULL,
    created_at timestamptz NOT NULL,
    next_boundary timestamptz,
    next_grant timestamptz,
    term text COLLATE "C",
    PRIMARY KEY (customer, id),
    UNIQUE (customer, key),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
CREATE INDEX subscription_id ON subscription (id);
CREATE INDEX subscription_next_boundary ON subscription (next_boundary) WHERE next_boundary IS NOT NULL;
CREATE INDEX subscription_next_grant ON subscription (next_grant) WHERE next_grant IS NOT NULL;

-- From when to when which plan version prices a subscription, with which quantities, and what was
-- agreed beside it (deal). said is what the phase was told itself (null: everything); the rest it
-- took from the phase before.
CREATE TABLE subscription_phase (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    plan text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    quantities jsonb NOT NULL,
    proration text NOT NULL,
    deal jsonb NOT NULL DEFAULT '{}',
    said jsonb,
    PRIMARY KEY (customer, subscription, starts_at),
    FOREIGN KEY (customer, subscription) REFERENCES subscription (customer, id)
);
CREATE INDEX subscription_phase_plan ON subscription_phase (plan, customer, subscription);

-- A coupon as it is now, and how often it was redeemed: a row that is locked briefly, last.
CREATE TABLE coupon (
    key text COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    document jsonb NOT NULL,
    redemptions_max integer,
    redeemed integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz
);

-- The discounts that a subscription was given: its own (coupon is null) and those of the coupons
-- it redeemed, each with its terms of then. redemption counts the customer's of that coupon.
CREATE TABLE subscription_discount (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    coupon text COLLATE "C",
    version integer,
    redemption integer,
    terms jsonb NOT NULL,
    starts_at timestamptz NOT NULL,
    ended_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (customer, id),
    UNIQUE (customer, coupon, redemption),
    FOREIGN KEY (customer, subscription) REFERENCES subscription (customer, id)
);
CREATE INDEX subscription_discount_subscription ON subscription_discount (customer, subscription);

-- The lock and the debt of one customer's credit in one asset. The balance is derived:
-- the remaining amounts of usable grants, less the debt (below zero: a surplus).
CREATE TABLE wallet (
    customer text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    debt numeric NOT NULL,
    PRIMARY KEY (customer, asset)
) WITH (fillfactor = 70);
CREATE INDEX wallet_debt ON wallet (customer, asset) WHERE debt > 0;

-- A grant that a plan made names its subscription, the plan's credit, the step it was made for, and
-- for how many units (seats, or 1) the step has been granted with it; 0: what rolled over into it.
CREATE TABLE credit_grant (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('paid', 'promotional')),
    amount numeric NOT NULL CHECK (amount > 0),
    remaining numeric NOT NULL CHECK (remaining >= 0 AND remaining <= amount),
    priority integer NOT NULL,
    effective_at timestamptz NOT NULL,
    expires_at timestamptz,
    scope_meters text[],
    cost_basis numeric,
    cost_basis_asset text,
    created_at timestamptz NOT NULL,
    voided_at timestamptz,
    scope_path text COLLATE "C",
    subscription text COLLATE "C",
    credit text COLLATE "C",
    step_start timestamptz,
    step_units numeric,
    has_left boolean NOT NULL GENERATED ALWAYS AS (remaining > 0 AND voided_at IS NULL) STORED,
    PRIMARY KEY (customer, id),
    UNIQUE (customer, subscription, credit, step_start, step_units),
    FOREIGN KEY (customer, asset) REFERENCES wallet (customer, asset)
) WITH (fillfactor = 70);
CREATE INDEX credit_grant_wallet ON credit_grant (customer, asset, id);
CREATE INDEX credit_grant_id ON credit_grant (id);
CREATE INDEX credit_grant_left ON credit_grant
    (customer, asset, (COALESCE(expires_at, 'infinity'::timestamptz))) WHERE has_left;

-- Each movement of credit, append-only. amount is signed; grant_id null moves the debt.
CREATE TABLE wallet_entry (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    grant_id text COLLATE "C",
    kind text COLLATE "C" NOT NULL,
    amount numeric NOT NULL,
    at timestamptz NOT NULL,
    ref text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer, id)
);
CREATE INDEX wallet_entry_grant ON wallet_entry (customer, grant_id, id)
    WHERE kind IN ('void', 'transfer', 'rollover');

-- Below what available balance a wallet is topped up, to what, and how much of it at most a day and
-- a month of the customer's. A wallet is looked at when check_at comes; nothing is asked for before
-- quiet_until.
CREATE TABLE auto_topup (
    customer text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    threshold numeric NOT NULL CHECK (threshold >= 0),
    target numeric NOT NULL CHECK (target > threshold),
    max_per_day numeric NOT NULL CHECK (max_per_day > 0),
    max_per_month numeric CHECK (max_per_month > 0),
    expires_after text COLLATE "C",
    payment text COLLATE "C" NOT NULL CHECK (payment IN ('gateway', 'manual')),
    check_at timestamptz,
    quiet_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (customer, asset),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
CREATE INDEX auto_topup_check ON auto_topup (check_at) WHERE check_at IS NOT NULL;

-- A top-up that was asked for. One at most of a wallet is open. price is what it costs; the payment
-- gateway is asked at charge_at (null: somebody else collects), attempts times so far.
CREATE TABLE topup (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    price numeric,
    price_asset text COLLATE "C",
    expires_after text COLLATE "C",
    state text COLLATE "C" NOT NULL CHECK (state IN ('requested', 'paid', 'failed')),
    requested_at timestamptz NOT NULL,
    charge_at timestamptz,
    attempts integer NOT NULL,
    settled_at timestamptz,
    reference text,
    reason text,
    grant_id text COLLATE "C",
    PRIMARY KEY (customer, id)
);
CREATE UNIQUE INDEX topup_open ON topup (customer, asset) WHERE state = 'requested';
CREATE INDEX topup_id ON topup (id);
CREATE INDEX topup_charge ON topup (charge_at) WHERE charge_at IS NOT NULL;

-- A draft is computed when it is read; document is what was frozen when it was finalized.
CREATE TABLE invoice (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    boundary timestamptz NOT NULL,
    status text COLLATE "C" NOT NULL
        CHECK (status IN ('draft', 'open', 'paid', 'void', 'uncollectible')),
    number text COLLATE "C",
    currency text NOT NULL,
    finalize_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    document jsonb,
    PRIMARY KEY (customer, id),
    UNIQUE (customer, subscription, boundary),
    UNIQUE (customer, number),
    FOREIGN KEY (customer, subscription) REFERENCES subscription (customer, id)
);
CREATE INDEX invoice_id ON invoice (id);
CREATE INDEX invoice_draft ON invoice (finalize_at) WHERE status = 'draft';

-- The lines of finalized invoices: what was billed for each segment, to the last digit.
-- price is null for a plan minimum, rate for a price without rates.
CREATE TABLE invoice_line (
    customer text COLLATE "C" NOT NULL,
    invoice text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    price text COLLATE "C",
    plan text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    rate text COLLATE "C",
    segment_start timestamptz NOT NULL,
    segment_end timestamptz NOT NULL,
    description text NOT NULL,
    quantity numeric NOT NULL,
    exact numeric NOT NULL,
    amount numeric NOT NULL,
    PRIMARY KEY (customer, invoice, id),
    FOREIGN KEY (customer, invoice) REFERENCES invoice (customer, id)
);
CREATE INDEX invoice_line_segment ON invoice_line (customer, subscription, segment_start);

-- What was to be achieved, and whether it was: usage of prices by outcome is billed by its state.
-- share is the part billed now, confirm_at when it confirms itself, confirmed_at when it was first
-- confirmed; events and steps are how many of its events and decisions there are.
CREATE TABLE outcome (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL
        CHECK (state IN ('pending', 'confirmed', 'partial', 'disputed', 'failed', 'reversed')),
    share numeric NOT NULL CHECK (share >= 0 AND share <= 1),
    human_review boolean NOT NULL,
    opened_at timestamptz NOT NULL,
    confirm_at timestamptz,
    confirmed_at timestamptz,
    reversible_s bigint,
    events bigint NOT NULL,
    steps bigint NOT NULL,
    PRIMARY KEY (customer, id)
) WITH (fillfactor = 70);
CREATE INDEX outcome_confirm ON outcome (confirm_at) WHERE confirm_at IS NOT NULL;
CREATE INDEX outcome_undecided ON outcome (customer, state, id)
    WHERE state IN ('pending', 'disputed');

-- The events of an outcome: attempt is the event's place among them, for each meter that reads it
-- for a price by outcome.
CREATE TABLE outcome_event (
    customer text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    attempt bigint NOT NULL,
    source text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    PRIMARY KEY (customer, outcome, meter, attempt)
);
CREATE INDEX outcome_event_event ON outcome_event (customer, source, event);

-- Each decision about an outcome, append-only. share is what is billed after it.
CREATE TABLE outcome_step (
    customer text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    step bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    share numeric NOT NULL,
    human_review boolean NOT NULL,
    reason text,
    evidence text,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (customer, outcome, step)
);

-- Units used past the grants of an asset that has a price: taken out of the wallet's debt when the
-- billing period closed at `boundary`, to be billed by `invoice`. billed: that one is final.
CREATE TABLE overage (
    customer text COLLATE "C" NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    boundary timestamptz NOT NULL,
    asset text COLLATE "C" NOT NULL,
    invoice text COLLATE "C" NOT NULL,
    plan text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    quantity numeric NOT NULL CHECK (quantity > 0),
    unit_price numeric NOT NULL,
    billed boolean NOT NULL,
    PRIMARY KEY (customer, subscription, boundary, asset),
    FOREIGN KEY (customer, subscription) REFERENCES subscription (customer, id)
);

-- What a customer's open holds reserve: the one row that whoever decides about its holds locks.
-- counters are sums over the holds' own counters, less those of holds that expired by swept_until.
-- No open hold expires between swept_until and next_expiry (null: none does at all).
CREATE TABLE hold_account (
    customer text COLLATE "C" PRIMARY KEY,
    swept_until timestamptz NOT NULL,
    next_expiry timestamptz,
    counters json NOT NULL
) WITH (fillfactor = 50);

-- A reservation. An open one counts until expires_at, whether or not anybody looks. counters is
-- what it adds to its customer's; resolution is the digest of what resolved it, answer what was
-- answered, captured what was charged by asset.
CREATE TABLE hold (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('open', 'captured', 'released')),
    amounts json NOT NULL,
    path text COLLATE "C",
    feature text COLLATE "C",
    quantity numeric NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    counters json NOT NULL,
    resolved_at timestamptz,
    late boolean,
    captured jsonb,
    resolution bytea,
    answer bytea,
    PRIMARY KEY (customer, id)
) WITH (fillfactor = 80);
CREATE INDEX hold_id ON hold (id);
CREATE INDEX hold_open ON hold (customer, expires_at) WHERE state = 'open';

-- A hold that needs more than approve_above has to be approved; null: none has.
CREATE TABLE budget (
    customer text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    path text COLLATE "C",
    asset text COLLATE "C" NOT NULL,
    limit_amount numeric NOT NULL CHECK (limit_amount >= 0),
    "window" text COLLATE "C" NOT NULL,
    enforcement text COLLATE "C" NOT NULL CHECK (enforcement IN ('hard', 'soft')),
    alerts numeric[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    set_by text COLLATE "C" NOT NULL DEFAULT 'seller' CHECK (set_by IN ('seller', 'customer')),
    revision integer NOT NULL DEFAULT 0,
    approve_above numeric CHECK (approve_above >= 0),
    PRIMARY KEY (customer, name),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);

-- What was charged within a budget, by the window in which it was charged.
CREATE TABLE budget_spend (
    customer text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    spent numeric NOT NULL,
    PRIMARY KEY (customer, name, window_start)
) WITH (fillfactor = 70);

-- Work that costs more than a budget's threshold, for which somebody was asked. allowed, uses: how
-- much each hold may need, and how many holds, once it is approved; used: how many did.
-- path '': of the whole customer; feature '': of none. stands: whoever asks for the same is told
-- this one; until it ends or is used up.
CREATE TABLE approval (
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    budget text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    asset text COLLATE "C" NOT NULL,
    amount numeric NOT NULL,
    feature text COLLATE "C" NOT NULL,
    threshold numeric NOT NULL,
    set_by text COLLATE "C" NOT NULL CHECK (set_by IN ('seller', 'customer')),
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    decision text COLLATE "C" CHECK (decision IN ('approved', 'declined')),
    allowed numeric,
    uses integer NOT NULL,
    used integer NOT NULL CHECK (used <= uses),
    stands boolean NOT NULL,
    decided_at timestamptz,
    decided_by text,
    decided_as text COLLATE "C" CHECK (decided_as IN ('seller', 'customer')),
    PRIMARY KEY (customer, id)
);
CREATE INDEX approval_id ON approval (id);
CREATE INDEX approval_open ON approval (id) WHERE decision IS NULL;
CREATE UNIQUE INDEX approval_same ON approval (customer, budget, path, asset, amount, feature)
    WHERE stands;

-- The holds that were placed by an approval.
CREATE TABLE approval_use (
    customer text COLLATE "C" NOT NULL,
    approval text COLLATE "C" NOT NULL,
    hold text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (customer, approval, hold)
);

-- For what nothing new is authorized; path '': the whole customer.
CREATE TABLE suspension (
    customer text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    set_by text COLLATE "C" NOT NULL DEFAULT 'seller' CHECK (set_by IN ('seller', 'customer')),
    PRIMARY KEY (customer, path),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);

-- What is told of a customer, beside the shares of its budgets: kind 'balance' (of asset, at or
-- below the thresholds), 'spend' (of asset in a window) or 'allowance' (shares of a feature's).
-- look_at: when a balance that is told may next change by itself, with a grant that begins or ends.
CREATE TABLE alert_definition (
    customer text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('balance', 'spend', 'allowance')),
    asset text COLLATE "C",
    feature text COLLATE "C",
    "window" text COLLATE "C",
    thresholds numeric[] NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    look_at timestamptz,
    PRIMARY KEY (customer, name),
    FOREIGN KEY (customer) REFERENCES customer (customer)
);
CREATE INDEX alert_definition_look ON alert_definition (look_at) WHERE look_at IS NOT NULL;

-- What was told: each threshold once in a window, and where ordinal counts (a balance), once until
-- it is armed again. data holds the figures then.
CREATE TABLE alert (
    customer text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    ordinal integer NOT NULL,
    threshold numeric NOT NULL,
    id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    rearmed_at timestamptz,
    data jsonb NOT NULL,
    PRIMARY KEY (customer, kind, name, window_start, ordinal, threshold)
);
CREATE INDEX alert_id ON alert (id);
CREATE INDEX alert_customer ON alert (customer, id);

-- What happened and is to be told to the world, written with the change itself; in the order of
-- seq. body is sent as it stands.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    at timestamptz NOT NULL,
    type text COLLATE "C" NOT NULL,
    customer text COLLATE "C",
    body text NOT NULL,
    dispatched_at timestamptz
);
CREATE INDEX outbox_waiting ON outbox (seq) WHERE dispatched_at IS NULL;

-- events: the types it is told, or '*'. The secret signs, so it is kept as it is.
CREATE TABLE webhook_endpoint (
    id text COLLATE "C" PRIMARY KEY,
    url text NOT NULL,
    events text[] NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    disabled_reason text,
    deleted_at timestamptz
);

-- A message on its way to an endpoint. A pending one is tried at next_at, which is moved on before
-- each attempt: what dies with its process is tried again. tries counts since it was asked for
-- last, attempts all.
CREATE TABLE webhook_delivery (
    id text COLLATE "C" PRIMARY KEY,
    message text COLLATE "C" NOT NULL REFERENCES outbox (id),
    endpoint text COLLATE "C" NOT NULL REFERENCES webhook_endpoint (id),
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL,
    tries integer NOT NULL,
    next_at timestamptz,
    created_at timestamptz NOT NULL,
    attempted_at timestamptz,
    answer_status integer,
    answer_text text,
    UNIQUE (message, endpoint)
) WITH (fillfactor = 80);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint, next_at) WHERE state = 'pending';

-- What a source said of itself: the last heartbeat of each hour of its own clock. sent counts its
-- events with a time before `at`, since it began; customer '' means of all customers together.
CREATE TABLE source_heartbeat (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    sent bigint NOT NULL CHECK (sent >= 0),
    silence_after_s bigint,
    PRIMARY KEY (customer, source, hour)
) WITH (fillfactor = 70);
CREATE INDEX source_heartbeat_source ON source_heartbeat (source, hour);

-- The last word of each source: `at` its own clock, and the instant at which it is overdue if nothing
-- comes after it; none: it need say no more.
CREATE TABLE source_silence (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    silent_at timestamptz,
    PRIMARY KEY (customer, source)
) WITH (fillfactor = 70);
CREATE INDEX source_silence_due ON source_silence (silent_at)
    WHERE silent_at IS NOT NULL;

-- Events of a source that were not stored, because they were there already (duplicates) or their
-- identity was, with other content (conflicts); by the hour in which they were received.
CREATE TABLE source_repeat (
    customer text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    duplicates bigint NOT NULL,
    conflicts bigint NOT NULL,
    PRIMARY KEY (customer, source, hour)
) WITH (fillfactor = 70);

-- What a consumer of a stream could not deliver: the item-th event of a message, where the message
-- lies, and why. digest is of the content, so that what comes again is known and what is new in an
-- old place (a topic that was made anew) is not lost.
CREATE TABLE dead_letter (
    stream text COLLATE "C" NOT NULL,
    "position" text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    digest bytea NOT NULL,
    id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    event_id text COLLATE "C",
    path text NOT NULL,
    code text COLLATE "C" NOT NULL,
    detail text NOT NULL,
    bytes bigint NOT NULL,
    encoding text COLLATE "C" NOT NULL CHECK (encoding IN ('text', 'base64')),
    content text NOT NULL,
    resolved_at timestamptz,
    resolution text,
    PRIMARY KEY (stream, "position", item, digest)
);
CREATE UNIQUE INDEX dead_letter_id ON dead_letter (id);
CREATE INDEX dead_letter_open ON dead_letter (id) WHERE resolved_at IS NULL;

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

-- Gap-free numbers: a row that is locked last, in a short transaction.
CREATE TABLE number_counter (
    name text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);
