-- Promise: the least round trip is unknown again, and tokens freed early on its account are free as late as without it: a
-- worker that claims for the first time may be nearer than all before it, and would arrive too early on them (I6).
-- Locks: nothing, the caller holds the bucket and writes it.  Cost: one pass over the ring, once per worker.
CREATE OR REPLACE FUNCTION outbox.forget_round_trip(b outbox.bucket) RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_least_s CONSTANT float8 := outbox.least_round_trip_s(b);
BEGIN
    IF v_least_s > 0 THEN
        b.free_at := ARRAY(SELECT CASE WHEN f.used_by = 0 THEN f.at + make_interval(secs => v_least_s) ELSE f.at END
                             FROM unnest(b.free_at, b.used_by) WITH ORDINALITY f (at, used_by, i) ORDER BY f.i);
    END IF;
    b.round_trip_since := NULL;
    b.round_trip_s := '{NULL,NULL}';
    b.round_trip_answers := '{0,0}';
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.forget_round_trip IS 'Forgets how near a bot''s workers are. Part of claim.';
