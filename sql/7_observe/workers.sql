-- Promise: workers that live, and those that were lost within the last 10 minutes: somebody may wonder where they are.
-- state: lost (its lease ran out), idle, or busy.  Cost: a look at the rows of outbox.worker.
CREATE OR REPLACE VIEW outbox.workers AS
SELECT w.id, w.name, w.bots, w.host, w.pid, w.version, w.started_at, w.heartbeat_at, w.ended_at,
       CASE WHEN w.reaped OR outbox.lease_ends_at(w.lease_until) <= outbox.clock() THEN 'lost'
            WHEN w.idle THEN 'idle' ELSE 'busy' END AS state
  FROM outbox.worker w
 WHERE w.ended_at IS NULL OR w.reaped AND w.ended_at > outbox.clock() - interval '10 min';
COMMENT ON VIEW outbox.workers IS
    'Workers that live, with the bots they serve and their heartbeat, and those lost within 10 minutes; state: lost, idle or busy.';
