-- Promise: whether a process is alive that keeps house, or will within seconds, as every worker does: it counts what waits
-- and runs batches.  Locks: nothing.  Cost: one row of housekeeping, a look at the living workers.
CREATE OR REPLACE FUNCTION outbox.house_is_kept() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM outbox.housekeeping h WHERE h.duty = 'lease' AND h.lease_until > outbox.clock())
        OR EXISTS (SELECT FROM outbox.workers w WHERE w.state <> 'lost')
$$;
COMMENT ON FUNCTION outbox.house_is_kept IS
    'Whether a process is alive that keeps house, or will within seconds: without one nothing is counted and no batch goes on.';
