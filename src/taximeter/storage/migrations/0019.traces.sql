-- depends: 0001.initial

-- The events of runs, by trace. An event without one stands in no entry of it.
CREATE INDEX event_trace ON event (
    customer,
    (left(COALESCE(attributes ->> 'trace_id', substr(attributes ->> 'traceparent', 4, 32)), 256))
) WHERE attributes ?| ARRAY['trace_id', 'traceparent'] AND status = 'accepted';
