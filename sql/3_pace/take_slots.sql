-- Promise: the offered slots that found a lane are given, under their numbers; the rest of the offer is as if never made.
-- Locks: nothing, the caller holds the bucket.  Cost: one HOT update; a claim that found nothing and settled nothing
-- writes nothing.
-- p_token, p_used_at, p_number: the tokens given, in the order of their slots: each with the time of its use and the number
-- under which it is settled; an album uses several under one number. p_given: how many numbers that makes. p_calls: how many
-- calls are given, those that need no slot included. p_last_at: the last of the slots.
CREATE OR REPLACE FUNCTION outbox.take_slots(
    b outbox.bucket, p_rate int, p_window_s float8, p_token int[], p_used_at timestamptz[], p_number bigint[],
    p_given int, p_calls int, p_last_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_bound_s CONSTANT float8 := 1;  -- A, the arrival bound: see offer_slots
    v_now CONSTANT timestamptz := outbox.clock();
BEGIN
    FOR i IN 1 .. cardinality(p_token) LOOP
        IF p_token[i] > 0 THEN
            b.free_at[p_token[i]] := p_used_at[i] + make_interval(secs => p_window_s + v_bound_s);
            b.used_by[p_token[i]] := p_number[i];
        END IF;
    END LOOP;
    IF b.breaker = 'half_open' AND p_calls > 0 THEN
        -- Probes that nobody answered for 25 s are lost with their worker: see slots_allowed.
        b.probes := p_calls + CASE WHEN b.probed_at BETWEEN v_now - interval '25 s' AND v_now THEN b.probes ELSE 0 END;
        b.probed_at := v_now;
    END IF;
    UPDATE outbox.bucket k
       SET free_at = b.free_at, used_by = b.used_by, active_tokens = b.active_tokens,
           last_slot = b.last_slot + p_given,
           last_slot_at = greatest(p_last_at, b.last_slot_at),
           theoretical_at = CASE WHEN p_last_at IS NOT NULL AND cardinality(b.free_at) = 0
                                 THEN p_last_at + make_interval(secs => outbox.gcra_step_s(
                                          coalesce(nullif(b.active_tokens, 0), p_rate), p_window_s))
                                 ELSE b.theoretical_at END,
           round_trip_since = b.round_trip_since, round_trip_s = b.round_trip_s,
           round_trip_answers = b.round_trip_answers, known_workers = b.known_workers,
           lowered_at = b.lowered_at, raised_at = b.raised_at, ceiling = b.ceiling, probe_s = b.probe_s,
           lowered_in_a_row = b.lowered_in_a_row, trusted_until = b.trusted_until,
           answered_cell_at = b.answered_cell_at, answered = b.answered, flooded = b.flooded,
           flood_chats = b.flood_chats, flood_at = b.flood_at, flood_until = b.flood_until,
           breaker = b.breaker, breaker_reason = b.breaker_reason, breaker_until = b.breaker_until,
           breaker_opened = b.breaker_opened, breaker_cell_at = b.breaker_cell_at,
           breaker_answered = b.breaker_answered, breaker_failed = b.breaker_failed,
           breaker_refused = b.breaker_refused, refused_chats = b.refused_chats,
           refused_at = b.refused_at,
           probes = b.probes, probes_passed = b.probes_passed, probes_refused = b.probes_refused, probed_at = b.probed_at, probes_after = b.probes_after,
           reply_run = b.reply_run, kept_at = b.kept_at,
           paused_until = b.paused_until, paused_reason = b.paused_reason, unauthorised = b.unauthorised
     WHERE k.bot = b.bot;
END $$;
COMMENT ON FUNCTION outbox.take_slots IS 'Gives offered slots and writes the bucket, settlements included.';
