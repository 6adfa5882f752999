-- Promise: of the bots asked for, those that have a wakeup, and when their soonest one is due.
-- Locks: nothing.  Cost: one index probe per bot and priority that has wakeups, whatever their number (a skip scan;
-- measured on the prototype with 1,000 bots, 5 with work).
CREATE OR REPLACE FUNCTION outbox.bots_with_work(p_bots text[], OUT bot text, OUT due_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE soonest AS (
        (SELECT w.bot, w.priority, w.due_at FROM outbox.wakeup w ORDER BY w.bot, w.priority, w.due_at LIMIT 1)
        UNION ALL
        SELECT n.bot, n.priority, n.due_at
          FROM soonest s
         CROSS JOIN LATERAL (SELECT w.bot, w.priority, w.due_at FROM outbox.wakeup w
                              WHERE (w.bot, w.priority) > (s.bot, s.priority)
                              ORDER BY w.bot, w.priority, w.due_at LIMIT 1) n)
    SELECT s.bot, min(s.due_at) FROM soonest s WHERE s.bot = ANY (p_bots) GROUP BY s.bot
$$;
COMMENT ON FUNCTION outbox.bots_with_work IS 'Which of these bots have wakeups, and when the soonest is due.';
