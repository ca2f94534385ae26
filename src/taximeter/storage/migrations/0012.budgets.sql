-- depends: 0010.holds

-- Who set a budget or suspended something: the customer may not lift what the seller did.
ALTER TABLE budget ADD COLUMN set_by text COLLATE "C" NOT NULL DEFAULT 'seller'
    CHECK (set_by IN ('seller', 'customer'));
-- Which limit it is: shares of another one are told anew.
ALTER TABLE budget ADD COLUMN revision integer NOT NULL DEFAULT 0;
ALTER TABLE suspension ADD COLUMN set_by text COLLATE "C" NOT NULL DEFAULT 'seller'
    CHECK (set_by IN ('seller', 'customer'));
