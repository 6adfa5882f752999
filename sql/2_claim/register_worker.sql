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

-- Promise: the lease runs 20 s from now; false: it was lost (reaped), register anew before anything else (I7).
-- Locks: the worker's row.  Cost: one HOT update. Call every 5 s and whenever idleness changes.
CREATE OR REPLACE FUNCTION outbox.heartbeat(p_worker bigint, p_idle boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    UPDATE outbox.worker w
       SET heartbeat_at = v_now, lease_until = v_now + interval '20 s', idle = p_idle
     WHERE w.id = p_worker AND w.ended_at IS NULL;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION outbox.heartbeat IS 'Renews a worker''s lease by 20 s and says whether inserts should ring for it.';
