-- Promise: a new incarnation of a worker, with a lease of 20 s; the returned id is what claims and completes under it.
-- Locks: nothing.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.register_worker(p_name text, p_bots text[], p_host text, p_pid int, p_version text)
RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.worker (name, bots, host, pid, version, started_at, heartbeat_at, lease_until)
    SELECT p_name, p_bots, p_host, p_pid, p_version, t.now, t.now, t.now + interval '20 s'
      FROM (SELECT outbox.clock() AS now) t
    RETURNING id
$$;
COMMENT ON FUNCTION outbox.register_worker IS 'Registers a worker for its bots; returns its incarnation.';
