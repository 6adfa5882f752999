-- Promise: what PostgreSQL itself says: dead rows and vacuum, how long a snapshot is held, partitions ahead, wakeups taken,
-- connections.
-- Locks: ACCESS SHARE on the tables it measures.  Cost: catalog and statistics views. hidden_sessions: those whose
-- transactions the owner of the outbox may not see (GRANT pg_read_all_stats).
CREATE OR REPLACE FUNCTION outbox.gauges_of_server() RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_today date := (outbox.clock() AT TIME ZONE 'UTC')::date;
BEGIN
    RETURN QUERY
    SELECT x.name, jsonb_build_object('table', s.relname), x.value::float8
      FROM pg_stat_user_tables s
     CROSS JOIN LATERAL (VALUES ('table_dead_rows', s.n_dead_tup), ('table_live_rows', s.n_live_tup),
                                ('table_bytes', pg_total_relation_size(s.relid))) x (name, value)
     WHERE s.schemaname = 'outbox' AND s.relname IN ('message', 'wakeup', 'chat', 'bucket', 'dead_letter');
    RETURN QUERY
    SELECT 'wakeups_taken_total', '{}'::jsonb, s.n_tup_del::float8
      FROM pg_stat_user_tables s WHERE s.schemaname = 'outbox' AND s.relname = 'wakeup';
    RETURN QUERY
    -- As outbox doctor looks at them: VACUUM holds up nobody, a prepared transaction does.
    SELECT 'snapshot_age_seconds', '{}'::jsonb, coalesce(extract(epoch FROM max(clock_timestamp() - o.since)), 0)::float8
      FROM (SELECT a.xact_start AS since
              FROM pg_stat_activity a
             WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
               AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
               AND a.backend_type NOT LIKE 'autovacuum%'
               AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum p WHERE p.pid = a.pid)
             UNION ALL
            SELECT p.prepared FROM pg_prepared_xacts p WHERE p.database = current_database()) o;
    RETURN QUERY
    SELECT 'hidden_sessions', '{}'::jsonb, count(*)::float8
      FROM pg_stat_activity a WHERE a.datname = current_database() AND a.query = '<insufficient privilege>';
    RETURN QUERY
    SELECT 'partitions_ahead', jsonb_build_object('table', p.parent),
           coalesce(max(to_date(right(c.relname, 8), 'YYYYMMDD')) - v_today, -1)::float8
      FROM (VALUES ('attempt'), ('finished')) p (parent)
      LEFT JOIN pg_inherits i ON i.inhparent = to_regclass('outbox.' || p.parent)
      LEFT JOIN pg_class c ON c.oid = i.inhrelid AND c.relname ~ '_[0-9]{8}$'
     GROUP BY p.parent;
    RETURN QUERY
    SELECT 'database_connections', '{}'::jsonb, count(*)::float8
      FROM pg_stat_activity a WHERE a.datname = current_database() AND a.application_name LIKE 'outbox %';
END $$;
COMMENT ON FUNCTION outbox.gauges_of_server IS 'What PostgreSQL says of tables, snapshots and partitions. Part of gauges.';
