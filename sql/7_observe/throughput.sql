-- Promise: what each bot did in each minute of the last hour.
-- Cost: reads today's (and after midnight yesterday's) partitions of attempt and finished; for people, never for
-- gauges.
CREATE OR REPLACE VIEW outbox.throughput AS
SELECT x.bot, x.minute,
       count(*) FILTER (WHERE x.outcome = 'sent') AS sent,
       count(*) FILTER (WHERE x.outcome IN ('retry', 'uncertain', 'dead')) AS failed,
       count(*) FILTER (WHERE x.outcome = 'wait') AS too_many_requests,
       count(*) FILTER (WHERE x.outcome IS NULL) AS finished,
       avg(x.call_s) AS mean_call_s, max(x.call_s) AS longest_call_s,
       avg(x.delay_s) AS mean_delay_s, max(x.delay_s) AS longest_delay_s
  FROM (SELECT a.bot, date_trunc('minute', a.answered_at) AS minute, a.outcome,
               extract(epoch FROM a.answered_at - a.started_at)::float8 AS call_s, NULL::float8 AS delay_s
          FROM outbox.attempt a
         WHERE a.answered_at > outbox.clock() - interval '1 hour'
           -- Known to the planner: it opens the last days only.
           AND a.answered_at > now() - interval '1 day'
        UNION ALL
        SELECT f.bot, date_trunc('minute', f.finished_at), NULL, NULL,
               CASE WHEN f.status = 'sent'
                    THEN extract(epoch FROM f.finished_at - greatest(f.created_at, f.scheduled_for))::float8 END
          FROM outbox.finished f
         WHERE f.finished_at > outbox.clock() - interval '1 hour' AND f.finished_at > now() - interval '1 day') x
 GROUP BY x.bot, x.minute
 ORDER BY x.minute DESC, x.bot;
COMMENT ON VIEW outbox.throughput IS
    'Per bot and minute of the last hour: calls that sent, failed or were answered by 429 (too_many_requests); messages that finished, however; mean and longest seconds of a call, and from when a message was due until it was sent (delay).';
