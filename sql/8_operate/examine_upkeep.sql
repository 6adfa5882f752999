-- Promise: whether today and tomorrow (UTC) have their partitions, and nothing piles up in the default ones.
-- Locks: nothing.  Cost: catalog look-ups, at most 10,000 rows of each default partition.
CREATE OR REPLACE FUNCTION outbox.examine_partitions()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_today date := (outbox.clock() AT TIME ZONE 'UTC')::date;
    v_parent text;
    v_rows bigint;
    v_is_sound boolean := true;
    v_ahead int;
BEGIN
    FOREACH v_parent IN ARRAY ARRAY['attempt', 'finished'] LOOP
        RETURN QUERY
        SELECT CASE WHEN n.suffix = to_char(v_today + 1, 'YYYYMMDD') THEN 'warn' ELSE 'fail' END,
               format('partition outbox.%s_%s is missing%s', v_parent, n.suffix,
                      CASE n.suffix WHEN 'default' THEN ': on a day without its own nothing can be completed'
                                    WHEN to_char(v_today, 'YYYYMMDD') THEN ': what ends today lies in the default one'
                                    ELSE ', the one of tomorrow' END),
               'SELECT outbox.make_partitions(); where it makes none, rows of that day lie in the default one: '
               'docs/operations/doctor.md, partitions'
          FROM unnest(ARRAY['default', to_char(v_today, 'YYYYMMDD'), to_char(v_today + 1, 'YYYYMMDD')]) n (suffix)
         WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                            WHERE i.inhparent = to_regclass('outbox.' || v_parent)
                              AND c.relname = v_parent || '_' || n.suffix);
        v_is_sound := v_is_sound AND NOT FOUND;
        CONTINUE WHEN to_regclass(format('outbox.%s_default', v_parent)) IS NULL;
        IF v_parent = 'attempt' THEN
            v_rows := (SELECT count(*) FROM (SELECT FROM outbox.attempt_default LIMIT 10000) x);
        ELSE
            v_rows := (SELECT count(*) FROM (SELECT FROM outbox.finished_default LIMIT 10000) x);
        END IF;
        IF v_rows > 0 THEN
            v_is_sound := false;
            RETURN QUERY SELECT 'warn', format('outbox.%s_default holds %s of days without a partition', v_parent,
                                               outbox.count_in_words(v_rows::int, 10000, 'row')),
                'They go with retention; to give them partitions: docs/operations/doctor.md, partitions'::text;
        END IF;
    END LOOP;
    IF v_is_sound THEN
        v_ahead := (SELECT max(to_date(right(c.relname, 8), 'YYYYMMDD')) - v_today
                      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = 'outbox.finished'::regclass AND c.relname ~ '_[0-9]{8}$');
        RETURN QUERY SELECT 'ok', format('partitions reach %s days ahead, the default ones are empty', v_ahead), ''::text;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_partitions IS 'Missing partitions, and rows in the default ones. Part of examine.';

-- Promise: whether somebody keeps house, each duty ran when it should, and nothing had to be repaired.
-- Locks: nothing.  Cost: the rows of housekeeping.
CREATE OR REPLACE FUNCTION outbox.examine_housekeeping()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_holder text;
    v_until timestamptz;
    v_is_sound boolean;
BEGIN
    SELECT h.holder, h.lease_until INTO v_holder, v_until FROM outbox.housekeeping h WHERE h.duty = 'lease';
    IF v_until IS NULL OR v_until < v_now THEN
        -- Where no worker lives, that is the failure (check workers).
        RETURN QUERY SELECT CASE WHEN coalesce(v_until < v_now - interval '1 min', true) AND EXISTS (
                                      SELECT FROM outbox.worker w
                                       WHERE w.ended_at IS NULL AND outbox.lease_ends_at(w.lease_until) > v_now
                                         AND w.started_at < v_now - interval '1 min') THEN 'fail' ELSE 'warn' END,
            'nobody keeps house' || coalesce(': ' || v_holder || ' stopped ' || outbox.time_in_words(v_now - v_until) || ' ago', '')
            || '. Partitions are not made, history is not dropped, nothing is counted',
            'Start a worker: outbox worker, or outbox up';
        RETURN;
    END IF;
    RETURN QUERY
    SELECT 'fail', format('duty %s %s', d.duty, CASE
               WHEN h.last_error IS NOT NULL THEN 'failed: ' || left(h.last_error, 200)
               WHEN h.last_run_at IS NULL THEN 'never ran'
               ELSE format('ran %s ago, and is due every %s', outbox.time_in_words(v_now - h.last_run_at),
                           outbox.time_in_words(d.every)) END),
           format('Its error stands in the log of %s (housekeeping failed). By hand, to see it: SELECT outbox.%s();',
                  v_holder, d.call)
      FROM (VALUES ('make_partitions', interval '1 hour', interval '2 hours', 'make_partitions'),
                   ('drop_history', interval '1 min', interval '10 min', 'drop_history'),
                   ('measure', interval '15 s', interval '2 min', 'measure_queue'),
                   ('repair', interval '5 min', interval '20 min', 'repair'),
                   ('count_astray', interval '5 min', interval '20 min', 'count_astray'),
                   -- When there is something to do, so never late.
                   ('sweep', NULL, NULL, 'sweep'), ('batches', NULL, NULL, 'run_batches'),
                   ('index_history', NULL, NULL, 'index_history')) d (duty, every, late, call)
      LEFT JOIN outbox.housekeeping h ON h.duty = d.duty
     -- A duty that never ran is not late while the first worker has only begun.
     -- The last batch may have been stopped: then nobody runs what would clear its error.
     WHERE h.last_error IS NOT NULL AND (d.duty <> 'batches' OR outbox.batch_is_due())
        OR coalesce(h.last_run_at, (SELECT min(w.started_at) FROM outbox.worker w), v_now) < v_now - d.late;
    v_is_sound := NOT FOUND;
    RETURN QUERY
    SELECT 'warn', format('%s had to be filed by repair so far, which means a bug, or rows that were changed by hand',
                          outbox.count_in_words(h.wakeups_repaired::int, 2147483647, 'missing wakeup')),
           'Nothing is lost. Report it with the log of that time (wakeups were missing).'
      FROM outbox.housekeeping h WHERE h.duty = 'repair' AND h.wakeups_repaired > 0;
    IF FOUND THEN
        v_is_sound := false;
    END IF;
    RETURN QUERY
    SELECT 'fail', format('%s in no state, or in two', outbox.count_in_words(f.found::int, 2147483647, 'message')),
           'SELECT * FROM outbox.find_astray(); and report it: this means a bug, or rows that were changed by hand.'
      FROM outbox.finding f WHERE f.name = 'astray' AND f.found > 0;
    IF v_is_sound AND NOT FOUND THEN
        RETURN QUERY SELECT 'ok', format('%s keeps house, every duty ran in time', v_holder), ''::text;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_housekeeping IS 'Lease and duties of housekeeping. Part of examine.';

-- Promise: batches that do not go as asked: one that runs meets an error or is not taken further for 5 minutes, one of the
-- last day had to leave dead letters out. The newest five.
-- Locks: nothing.  Cost: the rows of batch.
CREATE OR REPLACE FUNCTION outbox.examine_batches()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    RETURN QUERY
    SELECT 'warn', format('batch %s (%s, asked for by %s) %s', b.id, b.verb, left(b.requested_by, 60), concat_ws(', and ',
               CASE WHEN b.finished_at IS NULL AND b.last_error IS NOT NULL
                    THEN 'fails, and is tried again: ' || left(b.last_error, 200) END,
               CASE WHEN b.failed > 0
                    THEN 'left out ' || outbox.count_in_words(b.failed::int, 2147483647, 'dead letter')
                         || CASE WHEN b.finished_at IS NULL OR b.last_error IS NULL THEN ''
                                 ELSE ': ' || left(b.last_error, 200) END END,
               CASE WHEN b.finished_at IS NULL AND b.due_at < v_now - interval '5 min'
                    THEN 'was not taken further for ' || outbox.time_in_words(v_now - b.due_at) END)),
           CASE WHEN b.finished_at IS NOT NULL
                THEN format('See what they are: outbox dead list. Then one of them alone: outbox dead %s ID', b.verb)
                WHEN b.last_error IS NULL AND b.failed = 0
                THEN 'Look whether somebody keeps house (check housekeeping), and at the log of who does.'
                ELSE format('To end it: outbox dead stop %s. The log of who keeps house says more.', b.id) END
      FROM outbox.batch b
     WHERE b.finished_at IS NULL AND (b.last_error IS NOT NULL OR b.due_at < v_now - interval '5 min')
        OR b.failed > 0 AND (b.finished_at IS NULL OR b.finished_at > v_now - interval '1 day')
     ORDER BY b.id DESC LIMIT 5;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'ok', format('%s running, none fails', CASE count(*)
                                WHEN 0 THEN 'no batch is' WHEN 1 THEN '1 batch is' ELSE count(*) || ' batches are' END), ''::text
                       FROM outbox.batch b WHERE b.finished_at IS NULL;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_batches IS 'Batches of dead letters that fail, stand or left some out. Part of examine.';

-- Promise: dead letters that retention takes within a week, before a person has decided about them.
-- Locks: nothing.  Cost: at most 10,000 dead letters twice, by index.
CREATE OR REPLACE FUNCTION outbox.examine_dead_letters()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_most constant int := 10000;
    v_kept constant interval := interval '90 days';  -- as drop_history has it
    v_old int;
    v_oldest timestamptz;
    v_fresh int;
BEGIN
    SELECT count(*), min(x.died_at) INTO v_old, v_oldest
      FROM (SELECT d.died_at FROM outbox.dead_letter d WHERE d.died_at < v_now - v_kept + interval '7 days'
             ORDER BY d.died_at LIMIT v_most) x;
    IF v_old > 0 THEN
        RETURN QUERY SELECT 'warn', format('retention takes %s within 7 days, the first %s',
                                           outbox.count_in_words(v_old, v_most, 'dead letter'),
                                           CASE WHEN v_oldest + v_kept < v_now THEN 'any moment'
                                                ELSE 'in ' || outbox.time_in_words(v_oldest + v_kept - v_now) END),
            format('Decide about them: outbox dead list --until %s, then outbox dead retry or outbox dead discard',
                   -- A second later: rounding down must not leave the one out that it speaks of.
                   to_char((v_now - v_kept + interval '7 days 1 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
        RETURN;
    END IF;
    v_fresh := (SELECT count(*) FROM (SELECT FROM outbox.dead_letter d WHERE d.died_at > v_now - interval '1 day'
                                       ORDER BY d.died_at LIMIT v_most) x);
    RETURN QUERY SELECT 'ok', format('%s of the last day, none near its retention of 90 days',
                                     outbox.count_in_words(v_fresh, v_most, 'dead letter')), ''::text;
END $$;
COMMENT ON FUNCTION outbox.examine_dead_letters IS 'Dead letters near their retention. Part of examine.';

-- Promise: whether far more chats than usual were suppressed within the last hour: 50 or more, and over five times the
-- hourly number of the day before. A wrong bot token or a method that Telegram changed looks like that.
-- Locks: nothing.  Cost: the suppressed chats, by index.
CREATE OR REPLACE FUNCTION outbox.examine_suppressed_chats()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := outbox.clock();
    v_all bigint;
    v_hour bigint;
    v_day bigint;
    v_reason text;
BEGIN
    SELECT count(*) FILTER (WHERE c.suppressed_until > v_now),
           count(*) FILTER (WHERE c.suppressed_at > v_now - interval '1 hour'),
           count(*) FILTER (WHERE c.suppressed_at BETWEEN v_now - interval '25 hours' AND v_now - interval '1 hour'),
           mode() WITHIN GROUP (ORDER BY c.suppressed_reason) FILTER (WHERE c.suppressed_at > v_now - interval '1 hour')
      INTO v_all, v_hour, v_day, v_reason
      FROM outbox.chat c WHERE c.suppressed_until IS NOT NULL;
    IF v_hour >= 50 AND v_hour > 5 * v_day / 24.0 THEN
        RETURN QUERY SELECT 'warn', format('%s chats were suppressed within the last hour, %s in the 24 hours before; most '
                                           'often: %s', v_hour, v_day, coalesce(left(v_reason, 100), 'no reason')),
            'Look whether the bot or its messages are at fault: outbox suppress list. After that: outbox suppress lift';
    ELSE
        RETURN QUERY SELECT 'ok', format('%s suppressed, %s of them within the last hour',
                                         outbox.count_in_words(v_all::int, 2147483647, 'chat'), v_hour), '';
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_suppressed_chats IS 'Whether far more chats than usual are suppressed. Part of examine.';
