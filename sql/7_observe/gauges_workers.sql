-- Promise: workers alive and lost, lanes in flight for a worker that is gone, and housekeeping: who late, what found.
-- Locks: nothing.  Cost: the workers of a week, one walk over chat (in flight is not indexed, so that every update is HOT).
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
                   count(*) FILTER (WHERE w.ended_at IS NULL AND l.ends_at BETWEEN v_now - interval '1 hour' AND v_now
                                       OR w.reaped AND w.ended_at > v_now - interval '1 hour') AS lost,
                   extract(epoch FROM v_now - min(w.heartbeat_at)
                                      FILTER (WHERE w.ended_at IS NULL AND l.ends_at > v_now)) AS heartbeat_age_s
              FROM outbox.worker w CROSS JOIN LATERAL outbox.lease_ends_at(w.lease_until) l (ends_at)) s
     CROSS JOIN LATERAL (VALUES ('workers_alive', s.alive::numeric), ('workers_lost_last_hour', s.lost),
                                ('worker_oldest_heartbeat_seconds', s.heartbeat_age_s)) x (name, value)
     WHERE x.value IS NOT NULL;
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
    RETURN QUERY
    SELECT 'housekeeping_age_seconds', jsonb_build_object('duty', h.duty),
           extract(epoch FROM v_now - h.last_run_at)::float8
      FROM outbox.housekeeping h WHERE h.last_run_at IS NOT NULL
    UNION ALL
    SELECT 'housekeeping_failing', jsonb_build_object('duty', h.duty), (h.last_error IS NOT NULL)::int::float8
      FROM outbox.housekeeping h WHERE h.duty <> 'lease'
    UNION ALL
    SELECT 'wakeups_repaired_total', '{}', coalesce(sum(h.wakeups_repaired), 0)::float8 FROM outbox.housekeeping h
    UNION ALL
    SELECT 'messages_astray', '{}', coalesce(sum(h.astray), 0)::float8 FROM outbox.housekeeping h;
END $$;
COMMENT ON FUNCTION outbox.gauges_of_workers IS 'Workers, lanes and housekeeping. Part of gauges.';
