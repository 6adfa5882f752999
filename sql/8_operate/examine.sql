-- Promise: what is wrong here, and what to do about it: the half of `outbox doctor` that the database sees. At least one
-- row per check; verdict ok | warn | fail. p_check: one check alone. A check that fails is a row, and the rest go on.
-- Changes nothing.
-- Locks: nothing.  Cost: that of the checks; lanes walks over chat, wakeups over what is due where that is little.
-- A cancel or a timeout ends the whole call: `outbox doctor` asks check by check, each within its own time.
CREATE OR REPLACE FUNCTION outbox.examine(p_check text DEFAULT NULL)
RETURNS TABLE (name text, verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_checks constant text[] := ARRAY['connections', 'transactions', 'vacuum', 'roles', 'partitions', 'housekeeping',
        'batches', 'workers', 'bots', 'lanes', 'wakeups', 'dead letters', 'suppressed chats'];
    v_check text;
BEGIN
    IF p_check <> ALL (v_checks) THEN
        RAISE EXCEPTION 'there is no check "%"', left(p_check, 80) USING
            ERRCODE = 'invalid_parameter_value', HINT = format('Use one of: %s.', array_to_string(v_checks, ', '));
    END IF;
    FOREACH v_check IN ARRAY v_checks LOOP
        CONTINUE WHEN p_check <> v_check;
        BEGIN
            -- Not one statement: each must be able to fail alone.
            CASE v_check
                WHEN 'connections' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_connections() x;
                WHEN 'transactions' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_transactions() x;
                WHEN 'vacuum' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_vacuum() x;
                WHEN 'roles' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_roles() x;
                WHEN 'partitions' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_partitions() x;
                WHEN 'housekeeping' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_housekeeping() x;
                WHEN 'batches' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_batches() x;
                WHEN 'workers' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_workers() x;
                WHEN 'bots' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_bots() x;
                WHEN 'lanes' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_lanes() x;
                WHEN 'wakeups' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_wakeups() x;
                WHEN 'dead letters' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_dead_letters() x;
                WHEN 'suppressed chats' THEN RETURN QUERY SELECT v_check, x.* FROM outbox.examine_suppressed_chats() x;
            END CASE;
        EXCEPTION WHEN OTHERS THEN
            RETURN QUERY SELECT v_check, CASE WHEN SQLSTATE LIKE '42%' THEN 'warn' ELSE 'fail' END,
                'not checked: ' || SQLERRM,
                CASE WHEN SQLSTATE = '42501' THEN 'Connect as a member of outbox_reader, outbox_worker or outbox_admin'
                     WHEN SQLSTATE LIKE '42%' THEN 'outbox migrate'
                     WHEN SQLSTATE = '55P03' THEN 'A lock is held for long, by a migration or ALTER TABLE: SELECT pid, '
                          'pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = ''Lock'';'
                     ELSE 'Look at the server''s log' END;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.examine IS
    'What is wrong and what to do, a row per finding (ok, warn, fail): connections, transactions, vacuum, roles, partitions, housekeeping, batches, workers, bots, lanes, wakeups, dead letters, suppressed chats; all, or one. What outbox doctor asks.';

-- Promise: a length of time in its largest sensible unit.  Locks: nothing.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.time_in_words(p_time interval) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN s < 100 THEN round(s) || ' s' WHEN s < 6000 THEN round(s / 60) || ' min'
                WHEN s < 172800 THEN round(s / 3600) || ' h' ELSE round(s / 86400) || ' days' END
      FROM (SELECT greatest(extract(epoch FROM p_time), 0) AS s) x
$$;
COMMENT ON FUNCTION outbox.time_in_words IS 'A length of time in words, such as 3 min. Part of examine.';
