-- depends: 0001.initial

-- The path below its customer that a key is confined to; none: it may name any.
ALTER TABLE api_key ADD path text;
