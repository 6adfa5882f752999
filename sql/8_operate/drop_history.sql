-- Promise: history older than p_days goes: a day of one table per call, rows of the default partition one by one; dead
-- letters after p_dead_letter_days, workers that ended a week ago, keys that expired, changes of breakers after p_days,
-- in batches of 10,000; audit stays. Returns how many partitions were dropped: 0 or 1. A table that is busy is left for
-- the next call, a minute later.
-- Locks: ACCESS EXCLUSIVE on one parent and the dropped day, waited for 200 ms at most and held for the drop only
-- (DETACH CONCURRENTLY cannot run in a function and, cancelled, blocks the next one).  Cost: catalog look-ups, and the
-- rows it deletes.
CREATE OR REPLACE FUNCTION outbox.drop_history(p_days int DEFAULT 30, p_dead_letter_days int DEFAULT 90) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_now timestamptz := outbox.clock();
    v_oldest date := (v_now AT TIME ZONE 'UTC')::date - p_days;
    v_name text;
    v_dropped int := 0;
BEGIN
    IF p_days < 1 OR p_dead_letter_days < 1 THEN
        RAISE EXCEPTION 'retention of % and % days would drop what is being written', p_days, p_dead_letter_days USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Keep at least one day.';
    END IF;
    DELETE FROM outbox.attempt_default a WHERE a.answered_at < v_oldest;
    DELETE FROM outbox.finished_default f WHERE f.finished_at < v_oldest;
    DELETE FROM outbox.worker w WHERE w.id IN (
        SELECT w.id FROM outbox.worker w WHERE w.ended_at < v_now - interval '7 days' LIMIT 10000);
    DELETE FROM outbox.idempotency i WHERE i.ctid = ANY (ARRAY(
        SELECT i.ctid FROM outbox.idempotency i WHERE i.expires_at < v_now ORDER BY i.expires_at LIMIT 10000
           FOR UPDATE SKIP LOCKED));
    DELETE FROM outbox.breaker_change b WHERE b.id IN (
        SELECT b.id FROM outbox.breaker_change b WHERE b.at < v_oldest LIMIT 10000);
    PERFORM outbox.discard_dead_letters(ARRAY(
        SELECT d.id FROM outbox.dead_letter d WHERE d.died_at < v_now - make_interval(days => p_dead_letter_days)
         ORDER BY d.died_at LIMIT 10000 FOR UPDATE SKIP LOCKED), 'retention');
    -- Last, and one day of one table per call: from here to the commit every complete waits.
    SELECT c.relname INTO v_name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent IN ('outbox.attempt'::regclass, 'outbox.finished'::regclass)
       AND c.relname ~ '_[0-9]{8}$' AND to_date(right(c.relname, 8), 'YYYYMMDD') < v_oldest
     ORDER BY right(c.relname, 8), c.relname LIMIT 1;
    IF v_name IS NOT NULL THEN
        BEGIN
            EXECUTE format('DROP TABLE outbox.%I', v_name);
            v_dropped := 1;
        EXCEPTION WHEN lock_not_available THEN
            RAISE NOTICE 'outbox.% is in use and is dropped later', v_name;
        END;
    END IF;
    RETURN v_dropped;
END $$;
COMMENT ON FUNCTION outbox.drop_history IS 'Drops history, dead letters and keys past their retention.';
