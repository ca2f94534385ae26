-- depends: 0001.initial

-- How fast a key may ask: so many requests in each second, minute or hour; none: as fast as it likes.
ALTER TABLE api_key ADD rate_requests integer, ADD rate_per text;
