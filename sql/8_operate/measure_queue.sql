-- Promise: outbox.depth holds what outbox.queue shows now, so that ten exporters read one count. Returns the rows written.
-- Locks: rows of depth.  Cost: reads every waiting row; housekeeping calls it every 15 s, nobody on the hot path does.
CREATE OR REPLACE FUNCTION outbox.measure_queue() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
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
    SELECT count(*) FROM kept
$$;
COMMENT ON FUNCTION outbox.measure_queue IS 'Counts what waits into outbox.depth, for gauges. For housekeeping.';
