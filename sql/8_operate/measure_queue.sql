-- Promise: outbox.depth holds what outbox.queue shows now, so that ten exporters read one count, and outbox.backlog
-- what outbox.pressure needs. Returns the rows of depth written.
-- Locks: rows of depth and backlog.
-- Cost: reads every waiting row twice, and what ended since the last time; housekeeping calls it every 15 s, nobody on
-- the hot path does.
CREATE OR REPLACE FUNCTION outbox.measure_queue() RETURNS bigint
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    v_kept bigint;
BEGIN
    WITH measured AS MATERIALIZED (SELECT q.*, outbox.clock() AS at FROM outbox.queue q),
    gone AS (
        DELETE FROM outbox.depth d
         WHERE NOT EXISTS (SELECT FROM measured m WHERE m.bot = d.bot AND m.priority = d.priority)),
    kept AS (
        INSERT INTO outbox.depth AS d (bot, priority, depth, due, scheduled, retrying, oldest_age_s, measured_at)
        SELECT m.bot, m.priority, m.depth, m.due, m.scheduled, m.retrying, m.oldest_age_s, m.at FROM measured m
        ON CONFLICT (bot, priority) DO UPDATE
           SET depth = excluded.depth, due = excluded.due, scheduled = excluded.scheduled, retrying = excluded.retrying,
               oldest_age_s = excluded.oldest_age_s, measured_at = excluded.measured_at
        RETURNING 1)
    SELECT count(*) INTO v_kept FROM kept;
    PERFORM outbox.measure_backlog();
    RETURN v_kept;
END $$;
COMMENT ON FUNCTION outbox.measure_queue IS
    'Counts what waits into outbox.depth, for gauges, and outbox.backlog, for pressure. For housekeeping.';

-- Promise: one row of backlog per bot: what is due and in how many chats, where the slots stood then, and what came
-- and went since the last time.
-- Locks: rows of backlog.  Cost: reads every waiting row, and what ended since the last time, by index.
-- arrived_per_s: of the last three times, four priorities each, the newest first: what keeps coming is what came every
-- time; a broadcast, inserted at once, counts as backlog only. other_per_s: slots that ended no message: replies of
-- the bot itself, failed attempts, albums.
CREATE OR REPLACE FUNCTION outbox.measure_backlog() RETURNS void
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    v_xid xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
    DELETE FROM outbox.backlog g WHERE NOT EXISTS (SELECT FROM outbox.bot o WHERE o.bot = g.bot);
    WITH ended AS MATERIALIZED (
        SELECT e.bot, e.priority, count(*) AS ended,
               count(*) FILTER (WHERE e.called
                                  AND lower(e.method) NOT IN ('answercallbackquery', 'sendchataction')) AS called
          FROM (SELECT f.bot, f.priority, f.method, f.status = 'sent' AS called
                  FROM outbox.finished f
                 WHERE f.xid >= (SELECT min(g.measured_xid) FROM outbox.backlog g) AND f.xid < v_xid
                UNION ALL
                SELECT d.bot, d.priority, d.method, true
                  FROM outbox.dead_letter d
                 WHERE d.xid >= (SELECT min(g.measured_xid) FROM outbox.backlog g) AND d.xid < v_xid) e
         GROUP BY e.bot, e.priority),
    flow AS (
        SELECT c.*, k.last_slot, t.now, p.arrived_per_s, p.other_per_s
          FROM outbox.count_backlog(NULL, NULL) c
          JOIN outbox.bucket k ON k.bot = c.bot
         CROSS JOIN (SELECT outbox.clock() AS now OFFSET 0) t
          LEFT JOIN outbox.backlog g ON g.bot = c.bot AND g.measured_at BETWEEN t.now - interval '5 min'
                                                                            AND t.now - interval '1 s'
         CROSS JOIN LATERAL (
                SELECT coalesce(array_agg(greatest(
                           (c.due[i] - coalesce(c.due[i - 1], 0) - g.due[i] + coalesce(g.due[i - 1], 0)
                            + coalesce(e.ended, 0)) / extract(epoch FROM t.now - g.measured_at)::float8, 0) ORDER BY i)
                           FILTER (WHERE g.bot IS NOT NULL), '{0,0,0,0}') AS arrived_per_s,
                       coalesce(greatest(
                           (k.last_slot - g.last_slot - coalesce(sum(e.called), 0))::float8
                           / extract(epoch FROM t.now - g.measured_at)::float8, 0), 0) AS other_per_s
                  FROM generate_series(1, 4) i
                  LEFT JOIN ended e ON e.bot = c.bot AND e.priority = i - 1) p)
    INSERT INTO outbox.backlog AS g (bot, measured_at, measured_xid, last_slot, due, heads, saturating, lasting_lanes,
                                     longest, arrived_per_s, other_per_s)
    SELECT f.bot, f.now, v_xid, f.last_slot, f.due, f.heads, f.saturating, f.lasting_lanes, f.longest,
           f.arrived_per_s || array_fill(0::float8, ARRAY[8]), f.other_per_s
      FROM flow f
    ON CONFLICT (bot) DO UPDATE
       SET measured_at = excluded.measured_at, measured_xid = excluded.measured_xid, last_slot = excluded.last_slot,
           due = excluded.due, heads = excluded.heads, saturating = excluded.saturating,
           lasting_lanes = excluded.lasting_lanes, longest = excluded.longest,
           arrived_per_s = excluded.arrived_per_s[1:4] || g.arrived_per_s[1:8], other_per_s = excluded.other_per_s;
END $$;
COMMENT ON FUNCTION outbox.measure_backlog IS 'Counts what is due into outbox.backlog. Part of measure_queue.';
