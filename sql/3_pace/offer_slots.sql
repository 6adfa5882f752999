-- Promise: the spacing of slots, in seconds, for limits above 100 messages per window, where GCRA serves without tokens.
-- Locks: nothing.  Cost: arithmetic.
-- 3.5 %: GCRA pays the largest jitter, not the mean: 1 / (1 + J), here for J = 35 ms (DESIGN section 4).
CREATE OR REPLACE FUNCTION outbox.gcra_step_s(p_rate int, p_window_s float8) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$ SELECT 1.035 * p_window_s / p_rate $$;
COMMENT ON FUNCTION outbox.gcra_step_s IS 'Spacing of slots in seconds where GCRA serves: limits above 100 per window. Part of limits.';

-- Promise: the next slots of a bot up to p_horizon ahead, at most p_most, in order, each with the token it would use; so
-- spaced that no window sees more than the limit arrive, whatever the jitter up to the arrival bound A = 1 s (I6).
-- Locks: nothing, the caller holds the bucket.  Cost: one sort of the ring.
-- Each token's arrivals are at least one window apart: it is free one window after the response to its last use, or, if
-- nobody says how that ended, one window and A after its slot. Utilisation = 1 / (1 + mean excess delay), less ~0.5 %.
CREATE OR REPLACE FUNCTION outbox.offer_slots_until(
    b outbox.bucket, p_rate int, p_window_s float8, p_now timestamptz, p_most int, p_horizon interval,
    OUT slot_at timestamptz[], OUT token int[], OUT next_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    v_step interval;
    v_tokens int[];
    v_free timestamptz[];
    v_last timestamptz := coalesce(b.last_slot_at, 'epoch');
    v_slot timestamptz;
BEGIN
    slot_at := '{}';
    token := '{}';
    IF p_rate IS NULL THEN
        slot_at := array_fill(p_now, ARRAY[p_most]);
        token := array_fill(0, ARRAY[p_most]);
        RETURN;
    END IF;

    IF cardinality(b.free_at) = 0 THEN
        v_step := make_interval(secs => outbox.gcra_step_s(coalesce(nullif(b.active_tokens, 0), p_rate), p_window_s));
        v_slot := greatest(b.theoretical_at, p_now);
        SELECT coalesce(array_agg(v_slot + v_step * i ORDER BY i), '{}'), coalesce(array_agg(0), '{}')
          INTO slot_at, token
          FROM generate_series(0, least(p_most - 1,
                   floor(extract(epoch FROM p_now + p_horizon - v_slot) / extract(epoch FROM v_step)))::int) i;
        next_at := v_slot + v_step * cardinality(slot_at);
        RETURN;
    END IF;

    -- 0.95: closer slots would end each window with a gap in which nothing can be sent (docs/decisions/0006).
    v_step := make_interval(secs => 0.95 * p_window_s / b.active_tokens);
    SELECT array_agg(t.i ORDER BY t.at, t.i), array_agg(t.at ORDER BY t.at, t.i) INTO v_tokens, v_free
      FROM unnest(b.free_at) WITH ORDINALITY t (at, i);
    -- Lowered by AIMD: the tokens that are free first rest, so that no more than active_tokens are in use.
    FOR i IN cardinality(v_free) - b.active_tokens + 1 .. cardinality(v_free) LOOP
        -- First the slots that replies left to the queue, then those after the last one given.
        next_at := greatest(p_now, v_free[i], coalesce(b.kept_at[cardinality(token) + 1], v_last + v_step));
        EXIT WHEN next_at > p_now + p_horizon OR cardinality(token) = p_most;
        IF cardinality(token) >= cardinality(b.kept_at) THEN
            v_last := next_at;
        END IF;
        slot_at := slot_at || next_at;
        token := token || v_tokens[i];
        next_at := coalesce(b.kept_at[cardinality(token) + 1], v_last + v_step);
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.offer_slots_until IS
    'Slots of a bucket row in hand up to a horizon, the token each would use, and when the next one comes. Takes nothing.';

-- Promise: the slots within the horizon of claim, 100 ms: what a critical message waits behind a saturating broadcast
-- (simulated: p99 150 ms).
-- Locks: nothing.  Cost: see offer_slots_until.
CREATE OR REPLACE FUNCTION outbox.offer_slots(
    b outbox.bucket, p_rate int, p_window_s float8, p_now timestamptz, p_most int,
    OUT slot_at timestamptz[], OUT token int[], OUT next_at timestamptz)
LANGUAGE sql AS $$
    SELECT * FROM outbox.offer_slots_until(b, p_rate, p_window_s, p_now, p_most, interval '100 ms')
$$;
COMMENT ON FUNCTION outbox.offer_slots IS 'Slots of a bucket row in hand within 100 ms, and when the next one comes.';
