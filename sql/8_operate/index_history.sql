-- Promise: a day of attempt or finished that lacks an index which its table has got since is given it, when the day ended two
-- hours ago, or it is small: one index per call. The default partition, when today has one of its own. Returns how many were
-- made: 0 or 1. A day that is busy is left for the next call.
-- Locks: SHARE on that day, waited for 200 ms. Results of that day wait meanwhile: those that a worker kept in its spool for
-- longer than two hours, or that come late.
-- Cost: a look at the catalogue; an index, about a second per million rows.
CREATE OR REPLACE FUNCTION outbox.index_history() RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    -- Shortly after midnight workers still bring yesterday's results.
    v_before CONSTANT text := to_char((outbox.clock() - interval '2 h') AT TIME ZONE 'UTC', 'YYYYMMDD');
    v_today CONSTANT text := to_char(outbox.clock() AT TIME ZONE 'UTC', 'YYYYMMDD');
    v_small CONSTANT bigint := 8388608;  -- an index of so many bytes is made in 0.1 s
    v_name text;
    r record;
BEGIN
    FOR r IN
        SELECT t.relname AS day_name, x.relname AS index_name, pg_get_indexdef(i.indexrelid) AS definition
          FROM pg_index i
          JOIN pg_class x ON x.oid = i.indexrelid
          JOIN pg_inherits h ON h.inhparent = i.indrelid
          JOIN pg_class t ON t.oid = h.inhrelid
         WHERE i.indrelid IN ('outbox.attempt'::regclass, 'outbox.finished'::regclass) AND NOT i.indisvalid
           AND NOT EXISTS (SELECT FROM pg_inherits c JOIN pg_index ci ON ci.indexrelid = c.inhrelid
                            WHERE c.inhparent = i.indexrelid AND ci.indrelid = t.oid)
           AND (t.relname ~ '_[0-9]{8}$' AND right(t.relname, 8) < v_before OR pg_relation_size(t.oid) < v_small
                OR t.relname ~ '_default$' AND EXISTS (
                       SELECT FROM pg_inherits o JOIN pg_class k ON k.oid = o.inhrelid
                        WHERE o.inhparent = i.indrelid AND right(k.relname, 8) = v_today))
         -- The newest first: what people look for.
         ORDER BY right(t.relname, 8) DESC, x.relname
    LOOP
        v_name := r.index_name || right(r.day_name, -length(substring(r.day_name FROM '^[a-z]+')));
        BEGIN
            EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON outbox.%I %s', v_name, r.day_name,
                           substring(r.definition FROM ' (USING .*)$'));
            EXECUTE format('ALTER INDEX outbox.%I ATTACH PARTITION outbox.%I', r.index_name, v_name);
            RETURN 1;
        EXCEPTION WHEN lock_not_available THEN
            RAISE NOTICE 'outbox.% is in use and gets its index later', r.day_name;
        END;
    END LOOP;
    RETURN 0;
END $$;
COMMENT ON FUNCTION outbox.index_history IS
    'Makes one index that a day of attempt or finished, past or small, lacks since an upgrade. For housekeeping: call it until 0.';
