-- Promise: attempt and finished have a partition for each day (UTC) from yesterday to p_days ahead, and a default one, so
-- that a missing day never stops complete. Returns how many were made; a table that is busy is left for the next call.
-- Locks: SHARE UPDATE EXCLUSIVE on the parent (ATTACH, not CREATE … PARTITION OF, which would stop every complete) and
-- ACCESS EXCLUSIVE on the default partition; waited for 200 ms at most.  Cost: catalog look-ups.
CREATE OR REPLACE FUNCTION outbox.make_partitions(p_days int DEFAULT 15) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    v_parent text;
    v_day date;
    v_name text;
    v_made int := 0;
BEGIN
    FOREACH v_parent IN ARRAY ARRAY['attempt', 'finished'] LOOP
        v_name := v_parent || '_default';
        IF to_regclass('outbox.' || v_name) IS NULL THEN
            EXECUTE format('CREATE TABLE outbox.%I PARTITION OF outbox.%I DEFAULT', v_name, v_parent);
            EXECUTE format('ALTER TABLE outbox.%I REPLICA IDENTITY FULL', v_name);
        END IF;
        FOR v_day IN SELECT (outbox.clock() AT TIME ZONE 'UTC')::date + d FROM generate_series(-1, p_days) d LOOP
            v_name := v_parent || to_char(v_day, '_YYYYMMDD');
            CONTINUE WHEN to_regclass('outbox.' || v_name) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.%I INCLUDING ALL)', v_name, v_parent);
                EXECUTE format('ALTER TABLE outbox.%I REPLICA IDENTITY FULL', v_name);
                EXECUTE format('ALTER TABLE outbox.%I ATTACH PARTITION outbox.%I FOR VALUES FROM (%L) TO (%L)',
                               v_parent, v_name, v_day || ' 00:00:00+00', (v_day + 1) || ' 00:00:00+00');
                v_made := v_made + 1;
            EXCEPTION
                -- Rows of that day lie in the default partition already, or a reader held the tables for too long.
                WHEN check_violation OR lock_not_available OR duplicate_table THEN
                    RAISE NOTICE 'partition outbox.% was not made: %', v_name, SQLERRM;
            END;
        END LOOP;
    END LOOP;
    RETURN v_made;
END $$;
COMMENT ON FUNCTION outbox.make_partitions IS 'Makes the daily partitions of attempt and finished, p_days ahead.';
