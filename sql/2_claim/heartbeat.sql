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
