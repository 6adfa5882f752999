-- Promise: the offered slots that found a lane are given, under their numbers; the rest of the offer is as if never made.
-- Locks: nothing, the caller holds the bucket.  Cost: one HOT update; a claim that found nothing and settled nothing
-- writes nothing.
-- p_token, p_slot_at: the slots given, in order; their numbers are b.last_slot + 1, + 2, …
CREATE OR REPLACE FUNCTION outbox.take_slots(
    b outbox.bucket, p_rate int, p_window_s float8, p_slot_at timestamptz[], p_token int[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_bound_s CONSTANT float8 := 1;  -- A, the arrival bound: see offer_slots
    v_given int := cardinality(p_slot_at);
BEGIN
    FOR i IN 1 .. v_given LOOP
        IF p_token[i] > 0 THEN
            b.free_at[p_token[i]] := p_slot_at[i] + make_interval(secs => p_window_s + v_bound_s);
            b.used_by[p_token[i]] := b.last_slot + i;
        END IF;
    END LOOP;
    UPDATE outbox.bucket k
       SET free_at = b.free_at, used_by = b.used_by,
           last_slot = b.last_slot + v_given,
           last_slot_at = coalesce(p_slot_at[v_given], b.last_slot_at),
           theoretical_at = CASE WHEN v_given > 0 AND cardinality(b.free_at) = 0
                                 THEN p_slot_at[v_given] + make_interval(secs => outbox.gcra_step_s(p_rate, p_window_s))
                                 ELSE b.theoretical_at END,
           round_trip_since = b.round_trip_since, round_trip_s = b.round_trip_s,
           round_trip_answers = b.round_trip_answers, known_workers = b.known_workers
     WHERE k.bot = b.bot;
END $$;
COMMENT ON FUNCTION outbox.take_slots IS 'Gives offered slots and writes the bucket, settlements included.';
