-- Promise: workers alive and lost, lanes in flight for a worker that is gone, and housekeeping: who late, what found. Lost is
-- a worker without a word: killed, frozen, or cut off for longer than its lease.
-- Locks: nothing.  Cost: the workers of a week, one walk over chat (in flight is not indexed, so that every update is HOT)
-- while that takes less than 64 MB; above, lanes without a worker are those that repair found at its last look.
CREATE OR REPLACE FUNCTION outbox.gauges_of_workers() RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    RETURN QUERY
    SELECT x.name, '{}'::jsonb, x.value::float8
      FROM (SELECT count(*) FILTER (WHERE w.ended_at IS NULL AND l.ends_at > v_now) AS alive,
                   -- Not those that said goodbye.
                   count(*) FILTER (
                       WHERE w.ended_at IS NULL AND l.ends_at BETWEEN v_now - interval '1 hour' AND v_now
                          OR w.reaped AND w.ended_at > v_now - interval '1 hour') AS lost,
                   extract(epoch FROM v_now - min(w.heartbeat_at)
                                      FILTER (WHERE w.ended_at IS NULL AND l.ends_at > v_now)) AS heartbeat_age_s
              FROM outbox.worker w CROSS JOIN LATERAL outbox.lease_ends_at(w.lease_until) l (ends_at)) s
     CROSS JOIN LATERAL (VALUES ('workers_alive', s.alive::numeric), ('workers_lost_last_hour', s.lost),
                                ('worker_oldest_heartbeat_seconds', s.heartbeat_age_s)) x (name, value)
     WHERE x.value IS NOT NULL;
    IF pg_relation_size('outbox.chat') < 64 << 20 THEN
        RETURN QUERY
        SELECT x.name, '{}'::jsonb, x.value::float8
          FROM (SELECT count(*) AS in_flight,
                       count(*) FILTER (WHERE w.id IS NULL OR w.ended_at IS NOT NULL
                                           OR l.ends_at < v_now - interval '10 s') AS ownerless
                  FROM outbox.chat c
                  LEFT JOIN outbox.worker w ON w.id = c.worker
                  LEFT JOIN LATERAL outbox.lease_ends_at(w.lease_until) l (ends_at) ON true
                 WHERE c.in_flight IS NOT NULL) s
         CROSS JOIN LATERAL (VALUES ('lanes_in_flight', s.in_flight), ('lanes_without_worker', s.ownerless)) x (name, value);
    ELSE
        RETURN QUERY
        SELECT 'lanes_without_worker', '{}'::jsonb, coalesce(sum(f.found), 0)::float8
          FROM outbox.finding f WHERE f.name = 'lanes_without_worker';
    END IF;
    RETURN QUERY
    -- A duty that never ran is as old as the last release of the schema, which may have brought it.
    SELECT 'housekeeping_age_seconds', jsonb_build_object('duty', d.duty),
           extract(epoch FROM v_now - coalesce(h.last_run_at, (SELECT max(r.applied_at) FROM outbox.release r)))::float8
      FROM (VALUES ('measure'), ('make_partitions'), ('drop_history'), ('repair'), ('count_astray')) d (duty)
      LEFT JOIN outbox.housekeeping h ON h.duty = d.duty
    UNION ALL
    -- An error of a duty that has its turn only when there is something to do is news for an hour.
    SELECT 'housekeeping_failing', jsonb_build_object('duty', h.duty),
           (h.last_error IS NOT NULL
            AND (h.duty NOT IN ('sweep', 'batches') OR h.last_run_at > v_now - interval '1 hour'))::int::float8
      FROM outbox.housekeeping h WHERE h.duty NOT IN ('lease', 'exporter')
    UNION ALL
    SELECT 'wakeups_repaired_total', '{}', coalesce(sum(h.wakeups_repaired), 0)::float8 FROM outbox.housekeeping h
    UNION ALL
    SELECT 'messages_astray', '{}', coalesce(sum(f.found), 0)::float8 FROM outbox.finding f WHERE f.name = 'astray';
END $$;
COMMENT ON FUNCTION outbox.gauges_of_workers IS 'Workers, lanes and housekeeping. Part of gauges.';
