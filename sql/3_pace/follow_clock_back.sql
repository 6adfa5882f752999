-- Promise: after the clock stepped back no deadline of the bucket lies further ahead than a slot given now could put it
-- (I5): the bot is silent for one window and the arrival bound, not until the clock has caught up. How much time really
-- passed nobody knows, so every such token counts as given this moment (I6). A step too small to tell from slots given
-- ahead, 3 s and two windows, is waited out.
-- Locks: nothing, the caller holds the bucket and writes it when the result differs.  Cost: one pass over the ring.
CREATE OR REPLACE FUNCTION outbox.follow_clock_back(b outbox.bucket, p_window_s float8, p_now timestamptz)
RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    -- The first slot of a reply lies up to 2 s ahead (acquire); an album begins there, waits for its last token, which
    -- may be free a window and A (1 s) later, and spaces its slots over another window.
    v_horizon CONSTANT interval := make_interval(secs => 3 + 2 * p_window_s);
    v_latest CONSTANT timestamptz := p_now + make_interval(secs => p_window_s + 1);  -- 1 s: A, the arrival bound
    v_flood_at timestamptz;
BEGIN
    IF b.last_slot_at > p_now + v_horizon OR b.theoretical_at > v_latest + v_horizon
       OR EXISTS (SELECT FROM unnest(b.free_at) f WHERE f > v_latest + v_horizon) THEN
        b.last_slot_at := least(b.last_slot_at, p_now);
        b.theoretical_at := least(b.theoretical_at, v_latest);
        b.free_at := ARRAY(SELECT least(f.at, v_latest) FROM unnest(b.free_at) WITH ORDINALITY f (at, i) ORDER BY f.i);
    END IF;
    -- What was kept for the queue and not taken goes back to all; far ahead it was kept before the clock stepped back.
    IF cardinality(b.kept_at) > 0 THEN
        b.kept_at := ARRAY(SELECT k FROM unnest(b.kept_at) k
                            WHERE k BETWEEN p_now - interval '100 ms' AND p_now + v_horizon ORDER BY k);
    END IF;
    -- The latest flood tells what time it was when the bot was paused.
    IF cardinality(b.flood_at) > 0 THEN
        v_flood_at := (SELECT max(f) FROM unnest(b.flood_at) f);
        IF v_flood_at > p_now + interval '1 s' THEN
            b.paused_until := p_now + (b.paused_until - v_flood_at);
            b.flood_chats := '{}';
            b.flood_at := '{}';
            b.flood_until := '{}';
        END IF;
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.follow_clock_back IS 'Pulls a bucket''s deadlines back after the clock stepped back. Part of claim.';
