-- Promise: whether the server has connections left.  Locks: nothing.  Cost: a look at the sessions.
CREATE OR REPLACE FUNCTION outbox.examine_connections()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN c.used > 0.8 * c.most THEN 'warn' ELSE 'ok' END,
           format('%s of %s connections of the server are taken, %s of them to this database', c.used, c.most, c.here),
           CASE WHEN c.used > 0.8 * c.most
                THEN 'See who has them: SELECT usename, application_name, state, count(*) FROM pg_stat_activity '
                     'GROUP BY 1, 2, 3 ORDER BY 4 DESC; then raise max_connections or put a pooler before the applications.'
                ELSE '' END
      FROM (SELECT count(*) AS used, count(*) FILTER (WHERE a.datname = current_database()) AS here,
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                   - coalesce(current_setting('reserved_connections', true)::int, 0) AS most
              FROM pg_stat_activity a
             -- Of a hidden session all is NULL but whose it is and where; background processes are of no database.
             WHERE a.backend_type = 'client backend'
                OR a.query = '<insufficient privilege>' AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL) c
$$;
COMMENT ON FUNCTION outbox.examine_connections IS 'Connections that are left. Part of examine.';

-- Promise: who keeps dead rows from being removed, or outbox.follow waiting: transactions open for more than 5 minutes,
-- the oldest five, prepared ones among them, and replication slots that nobody reads. Of statements only when they began.
-- Sessions that are hidden from this login are counted, and named where they hold the horizon. At least one row.
-- Locks: nothing.  Cost: a look at the sessions, prepared transactions and slots.
-- With the caller's rights: others' sessions are for pg_monitor, and a reader must not see them by the owner's.
CREATE OR REPLACE FUNCTION outbox.examine_transactions()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_is_sound boolean;
    v_hidden int;
BEGIN
    RETURN QUERY
    WITH open AS (
        SELECT a.xact_start AS since, a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL AS holds,
               format('pid %s (%s, user %s, %s%s)', a.pid, coalesce(nullif(left(a.application_name, 40), ''), 'no name'),
                      a.usename, coalesce(a.state, a.backend_type),
                      CASE WHEN a.datname <> current_database() THEN ', database ' || a.datname ELSE '' END) AS who,
               'its last statement began ' || outbox.time_in_words(v_now - a.query_start) || ' ago' AS told,
               format('SELECT pg_terminate_backend(%s);', a.pid) AS remedy
          FROM pg_stat_activity a
         WHERE a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
           AND a.backend_type NOT LIKE 'autovacuum%'
           -- Elsewhere in the server only who writes is in the way, of follow.
           AND (a.datname = current_database() OR a.datname IS NULL OR a.backend_xid IS NOT NULL)
           AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum p WHERE p.pid = a.pid)
         UNION ALL
        SELECT p.prepared, true, format('prepared transaction %L of %s in database %s', p.gid, p.owner, p.database),
               'nobody is connected to it',
               format('In database %s: ROLLBACK PREPARED %L; or COMMIT PREPARED, as its coordinator decided.',
                      p.database, p.gid)
          FROM pg_prepared_xacts p),
    long AS (
        SELECT * FROM open o WHERE o.since < v_now - interval '5 min' ORDER BY o.holds DESC, o.since LIMIT 5)
    SELECT CASE WHEN l.holds AND l.since < v_now - interval '1 hour' THEN 'fail' ELSE 'warn' END,
           format('%s: its transaction is open for %s, %s, and it %s', l.who, outbox.time_in_words(v_now - l.since), l.told,
                  CASE WHEN l.holds THEN 'holds the horizon: no row that died since can be removed'
                       ELSE 'keeps its locks' END),
           l.remedy
      FROM long l;
    v_is_sound := NOT FOUND;

    -- A walsender is here with its standby's horizon and no transaction of its own.
    RETURN QUERY
    SELECT 'warn', format('pid %s (standby %s) holds the horizon %s transactions back: a query runs there for long',
                          a.pid, a.application_name, age(a.backend_xmin)),
           'End the query on the standby, or set hot_standby_feedback = off there.'::text
      FROM pg_stat_activity a
     WHERE a.backend_type = 'walsender' AND a.xact_start IS NULL AND age(a.backend_xmin) > 100000;
    v_is_sound := v_is_sound AND NOT FOUND;

    -- Of a hidden session the horizon shows, not since when.
    RETURN QUERY
    SELECT 'warn', format('pid %s (%s, user %s, hidden) holds the horizon %s transactions back', a.pid,
                          coalesce(nullif(left(a.application_name, 40), ''), 'no name'), a.usename, age(a.backend_xmin)),
           format('SELECT pg_terminate_backend(%s);', a.pid)
      FROM pg_stat_activity a
     WHERE a.query = '<insufficient privilege>' AND a.usesysid IS NOT NULL AND age(a.backend_xmin) > 100000
       AND (a.datname = current_database() OR a.datid IS NULL)
     ORDER BY age(a.backend_xmin) DESC LIMIT 5;
    v_is_sound := v_is_sound AND NOT FOUND;

    RETURN QUERY
    SELECT CASE WHEN s.wal_status IN ('unreserved', 'lost') THEN 'fail' ELSE 'warn' END,
           format('replication slot %s%s', s.slot_name, concat_ws(' and',
               CASE WHEN s.behind > 1::bigint << 30 THEN format(' is read by nobody and keeps %s of WAL',
                                                                pg_size_pretty(s.behind)) END,
               CASE WHEN s.wal_status IN ('unreserved', 'lost') THEN format(' has WAL status %s', s.wal_status) END,
               CASE WHEN age(s.xmin) > 100000 THEN format(' holds the horizon %s transactions back', age(s.xmin)) END)),
           format('Start its consumer, or: SELECT pg_drop_replication_slot(%L);', s.slot_name)
      FROM (SELECT x.slot_name, x.xmin, x.wal_status,
                   CASE WHEN NOT x.active AND NOT pg_is_in_recovery()
                        THEN pg_wal_lsn_diff(pg_current_wal_lsn(), x.restart_lsn) END::bigint AS behind
              FROM pg_replication_slots x) s
     WHERE s.behind > 1::bigint << 30 OR s.wal_status IN ('unreserved', 'lost') OR age(s.xmin) > 100000;

    v_is_sound := v_is_sound AND NOT FOUND;

    -- As in examine_connections.
    v_hidden := (SELECT count(*) FROM pg_stat_activity a
                  WHERE a.query = '<insufficient privilege>' AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL);
    IF v_hidden > 0 THEN
        RETURN QUERY SELECT 'warn', format('sessions of other users are hidden from %I, %s of them, so a long transaction '
                                           'there is not seen here', current_user::text, v_hidden),
                            format('GRANT pg_monitor TO %I;', current_user::text);
    ELSIF v_is_sound THEN
        RETURN QUERY SELECT 'ok', 'no transaction is open for more than 5 min'::text, ''::text;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_transactions IS
    'Long transactions, prepared ones, replication slots: who holds the horizon. Part of examine.';

-- Promise: whether dead rows are removed: tables with more dead than living rows, with far more pages than rows, and
-- autovacuum that is switched off.
-- Locks: nothing.  Cost: the statistics of the tables, which are estimates.
CREATE OR REPLACE FUNCTION outbox.examine_vacuum()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    IF current_setting('autovacuum') = 'off' OR current_setting('track_counts') = 'off' THEN
        RETURN QUERY SELECT 'fail', 'autovacuum is off in this server: dead rows are never removed, and delivery slows down',
                            'ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf();';
    END IF;
    RETURN QUERY
    WITH kept AS (
        SELECT c.relname, c.oid, s.n_dead_tup AS dead, greatest(s.n_live_tup, c.reltuples::bigint, 0) AS living,
               pg_relation_size(c.oid) AS bytes, greatest(s.last_autovacuum, s.last_vacuum) AS vacuumed_at,
               coalesce(c.reloptions::text, '') ~ 'autovacuum_enabled=(false|off|no|0)' AS is_off,
               -- A crash of the server empties the statistics: 0 living rows are then no finding.
               coalesce(s.last_autovacuum, s.last_vacuum, s.last_autoanalyze, s.last_analyze) IS NOT NULL AS is_counted
          FROM pg_class c JOIN pg_stat_all_tables s ON s.relid = c.oid
         WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition),
    judged AS (
        SELECT k.*, k.dead > 20000 + k.living / 2 AS is_dead,
               -- Rows that stay in the table itself take at most 2 kB.
               k.bytes > 64 << 20 AND k.bytes / 8192 > k.living AS is_large
          FROM kept k)
    SELECT 'warn', format('outbox.%s %s (last vacuum %s)', j.relname, concat_ws(', and ',
               CASE WHEN j.is_off THEN 'has its autovacuum switched off' END,
               CASE WHEN j.is_dead THEN format('has about %s dead rows beside %s living ones', j.dead, j.living) END,
               CASE WHEN j.is_large AND j.is_counted
                    THEN format('takes %s for about %s row%s', pg_size_pretty(j.bytes), j.living,
                                CASE WHEN j.living <> 1 THEN 's' END)
                    WHEN j.is_large THEN format('takes %s, and nobody has counted its rows', pg_size_pretty(j.bytes)) END),
               coalesce(outbox.time_in_words(v_now - j.vacuumed_at) || ' ago', 'never')),
           CASE WHEN j.is_off THEN format('ALTER TABLE outbox.%I RESET (autovacuum_enabled);', j.relname)
                WHEN j.is_dead
                THEN format('End what holds the horizon (check transactions), then: VACUUM (VERBOSE) outbox.%I;', j.relname)
                WHEN NOT j.is_counted
                THEN format('Autovacuum counts within minutes; at once: VACUUM (ANALYZE) outbox.%I;', j.relname)
                ELSE format('Its space is used again; to give it back while nothing is sent: VACUUM FULL outbox.%I;',
                            j.relname) END
      FROM judged j WHERE j.is_off OR j.is_dead OR j.is_large ORDER BY j.dead DESC;
    IF NOT FOUND AND current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on' THEN
        RETURN QUERY
        SELECT 'ok', format('about %s dead row%s in all tables of outbox', sum(s.n_dead_tup),
                            CASE WHEN sum(s.n_dead_tup) <> 1 THEN 's' END), ''::text
          FROM pg_stat_all_tables s WHERE s.schemaname = 'outbox';
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_vacuum IS 'Dead rows, bloat and autovacuum of the tables, by estimates. Part of examine.';

-- Promise: whether the roles are there and have their rights.  Locks: nothing.  Cost: catalog look-ups.
CREATE OR REPLACE FUNCTION outbox.examine_roles()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE sql STABLE AS $$
    WITH role AS (
        SELECT r.rolname, p.oid IS NOT NULL AS exists,
               CASE WHEN p.oid IS NOT NULL
                    THEN has_schema_privilege(p.oid, 'outbox', 'USAGE')
                         AND CASE r.rolname WHEN 'outbox_producer' THEN has_any_column_privilege(p.oid, 'outbox.message', 'INSERT')
                                            WHEN 'outbox_reader' THEN has_table_privilege(p.oid, 'outbox.history', 'SELECT')
                                            WHEN 'outbox_worker' THEN has_table_privilege(p.oid, 'outbox.message', 'DELETE')
                                            ELSE has_table_privilege(p.oid, 'outbox.audit', 'INSERT') END END AS may,
               EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = p.oid AND m.member NOT IN (
                           SELECT x.oid FROM pg_roles x WHERE x.rolname LIKE 'outbox\_%')) AS has_members
          FROM unnest(ARRAY['outbox_producer', 'outbox_reader', 'outbox_worker', 'outbox_admin']) r (rolname)
          LEFT JOIN pg_roles p ON p.rolname = r.rolname)
    SELECT 'warn', 'role ' || r.rolname || ' does not exist, so only the owner of the schema can do its work',
           format('As a DBA: CREATE ROLE %s NOLOGIN; then: outbox migrate', r.rolname)
      FROM role r WHERE NOT r.exists
     UNION ALL
    SELECT 'fail', 'role ' || r.rolname || ' lacks rights in schema outbox', 'As the owner of the schema: outbox migrate'
      FROM role r WHERE NOT r.may
     UNION ALL
    SELECT 'ok', 'the roles are there; without members (the owner needs none): '
                 || coalesce(string_agg(r.rolname, ', ') FILTER (WHERE NOT r.has_members), 'none'), ''
      FROM role r HAVING bool_and(r.may) AND bool_and(r.exists)
$$;
COMMENT ON FUNCTION outbox.examine_roles IS 'Roles that are missing or lack rights. Part of examine.';
