-- Promise: an id below every message that was written at this time or later; ids grow with time, so a range of time is a
-- range of ids. NULL for NULL.
-- Locks: nothing.  Cost: some 30 probes of each table.
-- created_at is when the writer's transaction began: a few long ones among many short must not mislead, so each probe
-- looks at several rows.
CREATE OR REPLACE FUNCTION outbox.id_at(p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_incremental_sort = off SET jit = off AS $$
DECLARE
    v_low bigint := 0;  -- everything up to here was written before
    v_high bigint := 1 + coalesce(greatest(
        (SELECT max(m.id) FROM outbox.message m), (SELECT max(d.id) FROM outbox.dead_letter d),
        (SELECT f.id FROM outbox.finished f ORDER BY f.id DESC LIMIT 1)), 0);
    v_middle bigint;
    v_newest timestamptz;
BEGIN
    WHILE v_high - v_low > 1 LOOP
        v_middle := v_low + (v_high - v_low) / 2;
        SELECT max(x.created_at) INTO v_newest
          FROM ((SELECT m.created_at FROM outbox.message m WHERE m.id <= v_middle ORDER BY m.id DESC LIMIT 8)
                UNION ALL
                (SELECT d.created_at FROM outbox.dead_letter d WHERE d.id <= v_middle ORDER BY d.id DESC LIMIT 8)
                UNION ALL
                (SELECT f.created_at FROM outbox.finished f WHERE f.id <= v_middle ORDER BY f.id DESC LIMIT 8)) x;
        IF v_newest >= p_at THEN
            v_high := v_middle;
        ELSE
            v_low := v_middle;
        END IF;
    END LOOP;
    RETURN v_low;
END $$;
COMMENT ON FUNCTION outbox.id_at IS 'An id below all messages written since a time. Part of find_messages.';
