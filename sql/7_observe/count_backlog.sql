-- Promise: per bot, how much is due and how it is spread over chats: arrays of four, one place per priority.
-- Locks: nothing.  Cost: reads at most p_most rows of message (NULL: all) and groups them by chat.
-- due: messages of this priority or better. heads: chats whose first message has exactly this priority, which is how
-- many turns a message to another chat waits for (docs/decisions/0005). Lanes take turns, each at most once per chat
-- interval: so only while at least rate x interval chats have something do they take every slot. saturating: how many
-- messages of this priority or better go until fewer chats are left; lasting_lanes: how many chats are left then.
-- longest: the most messages of this priority or better that one chat has.
CREATE OR REPLACE FUNCTION outbox.count_backlog(
    p_bot text, p_most bigint, OUT bot text, OUT due bigint[], OUT heads bigint[], OUT saturating bigint[],
    OUT lasting_lanes bigint[], OUT longest bigint[]) RETURNS SETOF record
LANGUAGE sql STABLE SET work_mem = '64MB' SET jit = off AS $$
    WITH lane AS (
        SELECT m.bot, m.chat_id, count(*) FILTER (WHERE m.priority <= 0) AS n0,
               count(*) FILTER (WHERE m.priority <= 1) AS n1, count(*) FILTER (WHERE m.priority <= 2) AS n2, count(*) AS n3
          -- The limit stands inside: it bounds what is read, not what is found.
          FROM (SELECT x.bot, x.chat_id, x.priority, x.next_attempt_at FROM outbox.message x LIMIT p_most) m
         CROSS JOIN (SELECT outbox.clock() AS now OFFSET 0) t
         WHERE m.next_attempt_at <= t.now AND (p_bot IS NULL OR m.bot = p_bot)
         GROUP BY m.bot, m.chat_id),
    -- Chats with the same numbers are one row from here on.
    alike AS (
        SELECT l.bot, l.n0, l.n1, l.n2, l.n3, count(*) AS lanes
          FROM lane l GROUP BY l.bot, l.n0, l.n1, l.n2, l.n3),
    ranked AS (
        SELECT a.bot, p.priority, d.depth, sum(a.lanes) AS lanes, sum(a.lanes) FILTER (WHERE d.better = 0) AS heads,
               sum(sum(a.lanes)) OVER (PARTITION BY a.bot, p.priority ORDER BY d.depth DESC) AS no_shallower
          FROM alike a
         CROSS JOIN generate_series(0, 3) p (priority)
         CROSS JOIN LATERAL (SELECT (ARRAY[a.n0, a.n1, a.n2, a.n3])[p.priority + 1] AS depth,
                                    (ARRAY[0, a.n0, a.n1, a.n2])[p.priority + 1] AS better) d
         WHERE d.depth > 0
         GROUP BY a.bot, p.priority, d.depth),
    cut AS (
        SELECT r.bot, r.priority, coalesce(max(r.depth) FILTER (WHERE r.no_shallower >= coalesce(
                   o.rate * o.chat_interval_s / o.rate_window_s, 0)), 0) AS depth
          FROM ranked r JOIN outbox.bot o ON o.bot = r.bot GROUP BY r.bot, r.priority),
    measured AS (
        SELECT r.bot, r.priority, sum(r.lanes * r.depth) AS due, sum(r.heads) AS heads,
               sum(r.lanes * least(r.depth, c.depth)) AS saturating,
               sum(r.lanes) FILTER (WHERE r.depth > c.depth) AS lasting, max(r.depth) AS longest
          FROM ranked r JOIN cut c ON c.bot = r.bot AND c.priority = r.priority
         GROUP BY r.bot, r.priority)
    SELECT o.bot, array_agg(coalesce(m.due, 0)::bigint ORDER BY p.priority),
           array_agg(coalesce(m.heads, 0)::bigint ORDER BY p.priority),
           array_agg(coalesce(m.saturating, 0)::bigint ORDER BY p.priority),
           array_agg(coalesce(m.lasting, 0)::bigint ORDER BY p.priority),
           array_agg(coalesce(m.longest, 0)::bigint ORDER BY p.priority)
      FROM outbox.bot o
     CROSS JOIN generate_series(0, 3) p (priority)
      LEFT JOIN measured m ON m.bot = o.bot AND m.priority = p.priority
     WHERE p_bot IS NULL OR o.bot = p_bot
     GROUP BY o.bot
$$;
COMMENT ON FUNCTION outbox.count_backlog IS
    'How much of each bot is due, and over how many chats, in arrays by priority. Part of measure_queue and pressure.';
