-- Promise: whether sweep has something to look at: a cancel that is not done, a watch that ran out.
-- Locks: nothing.  Cost: a look at three tables, empty as a rule: an idle worker asks it with its lease.
CREATE OR REPLACE FUNCTION outbox.sweep_is_due() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM outbox.request) OR EXISTS (SELECT FROM outbox.stop)
        OR coalesce((SELECT w.until FROM outbox.watch w ORDER BY w.until LIMIT 1) < outbox.clock(), false)
$$;
COMMENT ON FUNCTION outbox.sweep_is_due IS 'Whether outbox.sweep has something to do. For housekeeping.';
