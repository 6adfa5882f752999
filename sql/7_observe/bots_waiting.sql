-- Promise: the bots that something waits for: whether any of it is due, how many messages at the last count (NULL: nobody
-- counted within the last minute), and whether a living worker serves the bot.
-- Locks: nothing.  Cost: a few index probes per bot; at most 100 wakeups of a bot are followed to their chats.
-- Plans must not depend on statistics (I10).
CREATE OR REPLACE FUNCTION outbox.bots_waiting(OUT bot text, OUT is_due boolean, OUT messages bigint, OUT is_served boolean)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    RETURN QUERY
    SELECT o.bot, coalesce(w.due_at <= v_now, d.due > 0, false), d.depth,
           EXISTS (SELECT FROM outbox.worker r
                    WHERE r.ended_at IS NULL AND outbox.lease_ends_at(r.lease_until) > v_now AND o.bot = ANY (r.bots))
      FROM outbox.bot o
      LEFT JOIN outbox.bots_with_work(ARRAY(SELECT x.bot FROM outbox.bot x), v_now) w ON w.bot = o.bot
      LEFT JOIN LATERAL (SELECT sum(x.depth)::bigint AS depth, sum(x.due)::bigint AS due FROM outbox.depth x
                          WHERE x.bot = o.bot AND x.measured_at > v_now - interval '1 min') d ON true
     -- A wakeup may outlive its message.
     WHERE (w.bot IS NOT NULL AND EXISTS (
                SELECT FROM (SELECT k.chat_id FROM outbox.wakeup k WHERE k.bot = o.bot
                              ORDER BY k.priority, k.due_at LIMIT 100) k
                 CROSS JOIN LATERAL (SELECT FROM outbox.message m WHERE m.chat_id = k.chat_id AND m.bot = o.bot
                                      ORDER BY m.chat_id, m.bot, m.priority LIMIT 1) m))
        OR d.depth > 0
     ORDER BY o.bot;
END $$;
COMMENT ON FUNCTION outbox.bots_waiting IS
    'Bots that messages wait for; messages: how many at the last count, NULL when nobody counted within a minute; is_served: by a living worker.';
