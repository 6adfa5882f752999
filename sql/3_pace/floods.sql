-- Promise: the bot's deadline is at least this one: a pause only moves later (I9).
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.pause_until(b outbox.bucket, p_until timestamptz, p_reason text) RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF b.paused_until IS NULL OR p_until > b.paused_until THEN
        b.paused_until := p_until;
        b.paused_reason := p_reason;
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.pause_until IS 'Moves a bucket''s pause later, never sooner. Part of claim.';

-- Promise: one chat's 429 changes nothing for others. 429s from three chats or more that make up at least half of the
-- bot's answers of the last 2 s are the bot's: it pauses for the smallest of their waits, then probes, with fewer tokens.
-- 429s from three chats in 5 s that are fewer than that hint at a limit lower than ours: fewer tokens, no pause.
-- Locks: nothing, the caller holds the bucket.  Cost: one pass over the floods of the last 5 s, when there is a new one.
-- Telegram tells no scope (TELEGRAM.md section 2): the chats of the answers are the only evidence.
-- p_settlements: those of this bot; see claim.
CREATE OR REPLACE FUNCTION outbox.note_floods(b outbox.bucket, o outbox.bot, p_settlements jsonb, p_now timestamptz)
RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    f record;
BEGIN
    WITH flood AS (
        -- Of each chat the latest; of the latest fifty chats.
        SELECT y.* FROM (
            SELECT DISTINCT ON (x.chat_id) x.*
              FROM (SELECT k.chat_id, k.at, k.until FROM unnest(b.flood_chats, b.flood_at, b.flood_until) k (chat_id, at, until)
                     WHERE k.at <= p_now
                    UNION ALL
                    SELECT s.chat_id, a.at, a.at + make_interval(secs => s.retry_after_s)
                      FROM jsonb_to_recordset(p_settlements) s (chat_id text, age_s float8, result text, retry_after_s float8)
                     CROSS JOIN LATERAL (SELECT p_now - make_interval(secs => greatest(s.age_s, 0)) AS at) a
                     WHERE s.result = 'flood' AND s.chat_id IS NOT NULL) x
             WHERE x.at >= p_now - interval '5 s'
             ORDER BY x.chat_id, x.at DESC) y
         ORDER BY y.at DESC LIMIT 50)
    SELECT coalesce(array_agg(x.chat_id), '{}') AS chat_ids, coalesce(array_agg(x.at), '{}') AS at,
           coalesce(array_agg(x.until), '{}') AS until, count(*) AS chats_lately,
           count(*) FILTER (WHERE x.at >= p_now - interval '2 s') AS chats_now,
           min(x.until) FILTER (WHERE x.at >= p_now - interval '2 s') AS least_until
      INTO f
      FROM flood x;
    b.flood_chats := f.chat_ids;
    b.flood_at := f.at;
    b.flood_until := f.until;

    IF f.chats_now >= 3 AND outbox.sum_cells(b.flooded[1:4]) * 2 >= outbox.sum_cells(b.answered[1:4]) THEN
        b := outbox.pause_until(b, coalesce(f.least_until, p_now), 'flood');
        IF b.breaker = 'closed' THEN
            b := outbox.begin_probing(b);
            b.breaker_reason := 'flood';
        END IF;
        b := outbox.lower_rate(b, o, NULL, p_now);
    ELSIF f.chats_lately >= 3 THEN
        b := outbox.lower_rate(b, o, outbox.sum_cells(b.answered) - outbox.sum_cells(b.flooded), p_now);
    ELSIF f.chats_lately > 0 THEN
        b := outbox.end_probe_of_rate(b, o, p_now);
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.note_floods IS 'Takes 429s into a bucket row in hand: pause and rate of the bot. Part of claim.';
