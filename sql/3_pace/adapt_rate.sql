-- Promise: the number of tokens the bot's policy asks for; NULL: unlimited.
-- Locks: nothing.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.whole_rate(b outbox.bucket, p_rate int) RETURNS int
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(nullif(cardinality(b.free_at), 0), p_rate) $$;
COMMENT ON FUNCTION outbox.whole_rate IS 'Tokens in use when nothing has lowered their number. Part of adapt_rate.';

-- AIMD on the number of tokens in use (decision 0007). A limit that nobody tells is found by these rules: x 0.7 when the
-- bot is flooded, + 1 every 5 s without a flood, and the level that flooded is remembered as a ceiling: raising stops one
-- below it and tries it again after probe_s only, so that a limit once found costs one 429 in minutes, not in seconds.

-- Promise: fewer tokens, at most once in 10 s: seven tenths of them, or as many as were accepted in a window of the last
-- 5 s if that is known and more; never fewer than a third of the policy's. If floods go on after two such steps in a row,
-- the rate is not their cause: it is restored, and trusted for a minute.
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
-- p_accepted: answers of the last 5 s that were no 429; NULL: they say nothing, the whole bot was flooded.
CREATE OR REPLACE FUNCTION outbox.lower_rate(b outbox.bucket, o outbox.bot, p_accepted int, p_now timestamptz)
RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_whole CONSTANT int := outbox.whole_rate(b, o.rate);
    v_used CONSTANT int := coalesce(nullif(b.active_tokens, 0), v_whole);
BEGIN
    IF v_whole IS NULL OR b.lowered_at BETWEEN p_now - interval '10 s' AND p_now THEN
        RETURN b;
    END IF;
    IF p_accepted IS NOT NULL THEN
        IF b.trusted_until > p_now AND b.trusted_until <= p_now + interval '60 s' THEN
            RETURN b;
        END IF;
        IF b.lowered_in_a_row >= 2 THEN
            b.active_tokens := CASE WHEN cardinality(b.free_at) > 0 THEN v_whole ELSE 0 END;
            b.ceiling := NULL;
            b.trusted_until := p_now + interval '60 s';
            b.lowered_in_a_row := 0;
            b.lowered_at := p_now;
            b.raised_at := p_now;
            RETURN b;
        END IF;
        b.lowered_in_a_row := b.lowered_in_a_row + 1;
    END IF;
    b.ceiling := v_used;
    b.active_tokens := greatest(
        ceil(v_whole / 3.0)::int, floor(0.7 * v_used)::int,
        -- LEAST and GREATEST leave NULL out: unknown must not become v_used - 1.
        CASE WHEN o.rate_window_s <= 5 AND p_accepted IS NOT NULL
             THEN least(v_used - 1, floor(p_accepted * o.rate_window_s / 5)::int) END);
    b.lowered_at := p_now;
    b.raised_at := p_now;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.lower_rate IS 'Lowers a bucket''s tokens in use after floods. Part of claim.';

-- Promise: a single 429 within 5 s of a raise takes it back: that level is the ceiling, and tried again only after probe_s,
-- which doubles up to 600 s each time the same level is refused.
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.end_probe_of_rate(b outbox.bucket, o outbox.bot, p_now timestamptz) RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF b.active_tokens > 1 AND b.raised_at > b.lowered_at
       AND b.raised_at BETWEEN p_now - interval '5 s' AND p_now THEN
        b.probe_s := CASE WHEN b.ceiling = b.active_tokens THEN least(2 * b.probe_s, 600) ELSE 60 END;
        b.ceiling := b.active_tokens;
        b.active_tokens := greatest(b.active_tokens - greatest(outbox.whole_rate(b, o.rate) / 30, 1),
                                    ceil(outbox.whole_rate(b, o.rate) / 3.0)::int);
        b.lowered_at := p_now;
        b.raised_at := p_now;
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.end_probe_of_rate IS 'Takes back a higher rate that was answered by a 429. Part of claim.';

-- Promise: one token more every 5 s without a flood, up to the policy's number or one below the ceiling; the ceiling itself
-- after probe_s of sending at full rate. A ceiling that was tried without a flood for 5 s, or is an hour old, is forgotten.
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.raise_rate(b outbox.bucket, o outbox.bot, p_now timestamptz) RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_whole CONSTANT int := outbox.whole_rate(b, o.rate);
    -- One step of the thirtieth part: above 100 messages per window single tokens would take for ever.
    v_step CONSTANT int := greatest(v_whole / 30, 1);
    v_since timestamptz := greatest(b.lowered_at, b.raised_at);
    v_next int;
BEGIN
    IF v_since > p_now THEN  -- the clock stepped back (I5)
        b.lowered_at := least(b.lowered_at, p_now);
        b.raised_at := least(b.raised_at, p_now);
        RETURN b;
    END IF;
    IF v_since > p_now - interval '5 s'
       OR EXISTS (SELECT FROM unnest(b.flood_at) f WHERE f BETWEEN p_now - interval '5 s' AND p_now) THEN
        RETURN b;
    END IF;
    b.lowered_in_a_row := 0;
    v_next := least(coalesce(nullif(b.active_tokens, 0), v_whole) + v_step, v_whole);
    IF b.active_tokens >= b.ceiling OR b.lowered_at < p_now - interval '1 hour' THEN
        b.ceiling := NULL;
        b.probe_s := 60;
    ELSIF v_next >= b.ceiling
          -- A rate that is not used is not tried: nothing would answer.
          AND (v_since > p_now - make_interval(secs => b.probe_s)
               OR outbox.sum_cells(b.answered) * o.rate_window_s < 4 * b.active_tokens) THEN
        RETURN b;
    END IF;
    b.active_tokens := v_next;
    b.raised_at := p_now;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.raise_rate IS 'Raises a bucket''s tokens in use while nothing is flooded. Part of claim.';
