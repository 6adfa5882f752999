-- Promise: per bot: what its limits allow and what was used of them, floods, pauses, breaker. A state is a row of 0 or 1 for
-- each of its values, so that a monitor sees it end.
-- Locks: nothing.  Cost: one row each of bot and bucket; the changes of breakers within an hour and the calls of the last
-- 60 s, by index.
CREATE OR REPLACE FUNCTION outbox.gauges_of_bots() RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    -- On the day of an upgrade the floods that the bucket remembers must do.
    v_reads_calls boolean := NOT outbox.lacks_index('attempt_answered', outbox.clock() - interval '60 s');
BEGIN
    RETURN QUERY
    SELECT x.name, jsonb_build_object('bot', o.bot) || x.more, x.value::float8
      FROM outbox.bot o
      JOIN outbox.bucket k ON k.bot = o.bot
      LEFT JOIN (SELECT c.bot, count(DISTINCT c.chat_id) AS chats
                   FROM (SELECT a.bot, a.chat_id FROM outbox.attempt a
                          WHERE v_reads_calls AND a.answered_at > v_now - interval '60 s'
                            -- A flood that hides in the answer to an album is uncertain, and says how long too.
                            AND (a.outcome = 'wait' OR a.retry_after_s IS NOT NULL)
                          ORDER BY a.answered_at DESC LIMIT 100000) c
                  GROUP BY c.bot) f ON f.bot = o.bot
     CROSS JOIN LATERAL (VALUES
           -- The limit as set, and what floods have left of it; none for a bot without a limit.
           ('limit_messages_per_second', '{}'::jsonb, o.rate / o.rate_window_s),
           ('limit_active_messages_per_second', '{}',
            CASE WHEN o.rate IS NOT NULL THEN coalesce(nullif(k.active_tokens, 0), o.rate) / o.rate_window_s END),
           ('slots_total', '{}', k.last_slot),
           ('flooded_chats', '{}', CASE WHEN v_reads_calls THEN coalesce(f.chats, 0)
                                         ELSE (SELECT count(*) FROM unnest(k.flood_at) u WHERE u > v_now - interval '60 s') END),
           ('bot_paused', '{"by": "operator"}', k.stopped::int),
           ('bot_paused', '{"by": "telegram"}', coalesce(k.paused_until > v_now, false)::int),
           ('bot_paused', '{"by": "bot_token"}', k.unauthorised::int),
           ('breaker_openings', '{}', k.breaker_opened),
           ('breaker_state', '{"state": "closed"}', (k.breaker = 'closed')::int),
           ('breaker_state', '{"state": "open"}', (k.breaker = 'open')::int),
           ('breaker_state', '{"state": "half_open"}', (k.breaker = 'half_open')::int),
           ('bot_workers', '{}', (SELECT count(*) FROM outbox.worker w
                                   WHERE w.ended_at IS NULL AND outbox.lease_ends_at(w.lease_until) > v_now
                                     AND o.bot = ANY (w.bots)))) x (name, more, value)
     WHERE x.value IS NOT NULL;
    RETURN QUERY
    SELECT 'breaker_changes_last_hour', jsonb_build_object('bot', o.bot, 'to', s.breaker),
           (SELECT count(*) FROM outbox.breaker_change b
             WHERE b.bot = o.bot AND b.at > v_now - interval '1 hour' AND b.breaker = s.breaker)::float8
      FROM outbox.bot o CROSS JOIN (VALUES ('closed'), ('open'), ('half_open')) s (breaker);
END $$;
COMMENT ON FUNCTION outbox.gauges_of_bots IS 'Limits, floods, pauses and breakers per bot. Part of gauges.';
