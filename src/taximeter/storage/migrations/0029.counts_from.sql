-- depends: 0001.initial

-- From when on a version reads what is counted, later than all that was counted before it, to the
-- microsecond; none: since it was created.
ALTER TABLE meter ADD counts_from timestamptz;
