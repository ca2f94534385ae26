-- depends: 0001.initial

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
