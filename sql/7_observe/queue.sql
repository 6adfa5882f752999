-- Promise: depth and oldest age per bot and priority; "due" waits for a slot, "scheduled" for its time.
-- Cost: reads every waiting row; for people and gauges, never for claim.
CREATE OR REPLACE VIEW outbox.queue AS
SELECT m.bot, m.priority, count(*) AS depth,
       count(*) FILTER (WHERE m.next_attempt_at <= outbox.clock()) AS due,
       count(*) FILTER (WHERE m.next_attempt_at > outbox.clock()) AS scheduled,
       count(*) FILTER (WHERE m.attempts > 0) AS retrying,
       coalesce(extract(epoch FROM outbox.clock() - min(m.next_attempt_at)
                FILTER (WHERE m.next_attempt_at <= outbox.clock())), 0)::float8 AS oldest_age_s
  FROM outbox.message m GROUP BY m.bot, m.priority ORDER BY m.bot, m.priority;
COMMENT ON VIEW outbox.queue IS 'Depth and oldest age in seconds of what waits, per bot and priority.';
