-- Promise: whether workers live, all of one version, and every bot with messages has one.
-- Locks: nothing.  Cost: the workers of a week and a few index probes per bot.
CREATE OR REPLACE FUNCTION outbox.examine_workers()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_alive int;
    v_versions text;
    v_served text[];
    v_waiting text;
    v_is_due boolean;
    v_lost int;
    v_loser text;
    v_is_sound boolean;
BEGIN
    SELECT count(DISTINCT w.id), string_agg(DISTINCT coalesce(w.version, 'unknown'), ' and '),
           coalesce(array_agg(DISTINCT b.bot) FILTER (WHERE b.bot IS NOT NULL), '{}')
      INTO v_alive, v_versions, v_served
      FROM (SELECT w.* FROM outbox.worker w
             WHERE w.ended_at IS NULL AND outbox.lease_ends_at(w.lease_until) > v_now) w
      LEFT JOIN LATERAL unnest(w.bots) b (bot) ON true;
    IF v_alive = 0 THEN
        SELECT string_agg(b.bot, ', '), bool_or(b.is_due) INTO v_waiting, v_is_due FROM outbox.bots_waiting() b;
        RETURN QUERY SELECT CASE WHEN v_is_due THEN 'fail' ELSE 'warn' END,
            'no worker is alive' || coalesce(', and messages wait for ' || v_waiting, ''),
            'Start one with the bots'' tokens: outbox worker, or outbox up'::text;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT CASE WHEN b.is_due THEN 'fail' ELSE 'warn' END,
           format('no worker serves bot %s, and %s for it', b.bot, coalesce(CASE b.messages
               WHEN 1 THEN '1 message waits' ELSE b.messages || ' messages wait' END, 'messages wait')),
           format('Start one with its token (%s), or drop them: outbox cancel', CASE
                      WHEN b.bot = 'default' THEN 'OUTBOX_TOKEN'
                      -- No shell takes a variable with a - in its name.
                      WHEN b.bot LIKE '%-%' THEN format('a line %s = "123:ABC" in OUTBOX_TOKENS_FILE', b.bot)
                      ELSE 'OUTBOX_TOKEN_' || upper(b.bot) END)
      FROM outbox.bots_waiting() b WHERE NOT b.is_served;
    v_is_sound := NOT FOUND;
    IF v_versions LIKE '% and %' THEN
        v_is_sound := false;
        RETURN QUERY SELECT 'warn', format('workers of versions %s run side by side', v_versions),
                            'Restart those of the older version; a worker of the last release works meanwhile.'::text;
    END IF;
    SELECT count(*), (array_agg(w.name ORDER BY w.lease_until DESC))[1] INTO v_lost, v_loser
      FROM outbox.worker w
     WHERE w.reaped AND w.ended_at > v_now - interval '1 hour'
        OR w.ended_at IS NULL AND outbox.lease_ends_at(w.lease_until) BETWEEN v_now - interval '1 hour' AND v_now;
    IF v_lost > 0 THEN
        v_is_sound := false;
        RETURN QUERY
        SELECT 'warn', format('%s lost within the last hour, the last one by worker %s',
                              outbox.count_in_words(v_lost, 2147483647, 'lease'), v_loser),
               'It was killed, frozen, or cut off from the database for 20 s: look at its log and at memory limits.'::text;
    END IF;
    IF v_is_sound THEN
        RETURN QUERY SELECT 'ok', format('%s alive, version %s, for %s', outbox.count_in_words(v_alive, 2147483647, 'worker'),
                                         v_versions, array_to_string(v_served, ', ')), ''::text;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_workers IS 'Workers that live, their versions, bots without one. Part of examine.';

-- Promise: bots that send nothing just now, or slower: paused by a person or by Telegram, refused, breaker not closed.
-- Locks: nothing.  Cost: one row of bot and bucket each.
CREATE OR REPLACE FUNCTION outbox.examine_bots()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    RETURN QUERY
    SELECT x.verdict, x.finding, x.remedy
      FROM outbox.bucket k
     CROSS JOIN LATERAL (VALUES
           (k.unauthorised, 'fail', format('Telegram refused the token of bot %s: nothing is sent with it', k.bot),
            format('Get a token from @BotFather and start the workers with it; if the token was right: outbox resume %s', k.bot)),
           (k.stopped, 'warn', format('bot %s is paused by an operator; its messages wait', k.bot),
            format('outbox resume %s (who paused it: SELECT * FROM outbox.audit ORDER BY id DESC)', k.bot)),
           (k.paused_until > v_now, 'warn', format('bot %s waits another %s, as Telegram asked%s', k.bot,
                outbox.time_in_words(k.paused_until - v_now), coalesce(' (' || left(k.paused_reason, 60) || ')', '')),
            'It goes on by itself. Look who else sends with this token, and at the limit: outbox bot list'),
           (k.breaker = 'open', 'fail', format('the breaker of bot %s is open%s: it tries again in %s', k.bot,
                coalesce(' (' || k.breaker_reason || ')', ''), outbox.time_in_words(k.breaker_until - v_now)),
            'It closes by itself once calls succeed. Why they fail: SELECT * FROM outbox.failures ORDER BY last_at DESC LIMIT 20;'),
           (k.breaker = 'half_open', 'warn', format('the breaker of bot %s is half open: it probes whether calls succeed', k.bot),
            'It closes by itself. Why calls failed: SELECT * FROM outbox.failures ORDER BY last_at DESC LIMIT 20;'))
           x (applies, verdict, finding, remedy)
     WHERE x.applies ORDER BY k.bot;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'ok', format('%s may send', outbox.count_in_words(count(*)::int, 2147483647, 'bot')), ''::text
                       FROM outbox.bucket k;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_bots IS 'Bots that are paused, refused or behind an open breaker. Part of examine.';

-- Promise: chats in flight for a worker that cannot answer any more, or that has not for ten minutes.
-- Locks: nothing.  Cost: one walk over chat (in flight is not indexed, so that every update is HOT).
CREATE OR REPLACE FUNCTION outbox.examine_lanes()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_in_flight bigint;
    v_ended bigint;
    v_lapsed bigint;
    v_slow bigint;
    v_chat text;
    v_slow_worker text;
BEGIN
    SELECT count(*), count(*) FILTER (WHERE f.is_ended), count(*) FILTER (WHERE f.is_lapsed),
           count(*) FILTER (WHERE f.is_slow),
           min(format('chat %s of bot %s', f.chat_id, f.bot)) FILTER (WHERE f.is_ended OR f.is_lapsed OR f.is_slow),
           min(f.name) FILTER (WHERE f.is_slow)
      INTO v_in_flight, v_ended, v_lapsed, v_slow, v_chat, v_slow_worker
      FROM (SELECT c.chat_id, c.bot, w.name, w.id IS NULL OR w.ended_at IS NOT NULL AS is_ended,
                   w.id IS NOT NULL AND w.ended_at IS NULL AND l.ends_at < v_now - interval '10 s' AS is_lapsed,
                   w.id IS NOT NULL AND w.ended_at IS NULL AND l.ends_at >= v_now - interval '10 s'
                   AND c.claimed_at < v_now - interval '10 min' AS is_slow
              FROM outbox.chat c
              LEFT JOIN outbox.worker w ON w.id = c.worker
              LEFT JOIN LATERAL outbox.lease_ends_at(w.lease_until) l (ends_at) ON true
             WHERE c.in_flight IS NOT NULL) f;
    IF v_ended > 0 THEN
        RETURN QUERY SELECT 'fail', format('%s in flight for a worker that has ended, such as %s',
                                           outbox.count_in_words(v_ended::int, 2147483647, 'chat'), v_chat),
                            'SELECT outbox.repair(); and report it: this means a bug.'::text;
    END IF;
    IF v_lapsed > 0 THEN
        RETURN QUERY SELECT 'fail', format('%s in flight for a worker whose lease ran out, such as %s',
                                           outbox.count_in_words(v_lapsed::int, 2147483647, 'chat'), v_chat),
                            'Any worker frees them; without one: SELECT outbox.reap();'::text;
    END IF;
    IF v_slow > 0 THEN
        RETURN QUERY SELECT 'warn', format('%s with worker %s for more than 10 min, such as %s',
                                           outbox.count_in_words(v_slow::int, 2147483647, 'chat'), v_slow_worker, v_chat),
                            'It renews its lease but does not answer: look at its log, then restart it.'::text;
    END IF;
    IF v_ended + v_lapsed + v_slow = 0 THEN
        RETURN QUERY SELECT 'ok', format('%s in flight, none is stuck', outbox.count_in_words(
                                v_in_flight::int, 2147483647, 'chat')), ''::text;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_lanes IS 'Chats that are stuck in flight. Part of examine.';

-- Promise: whether messages that are due would be looked at by nobody, as outbox.repair finds them; changes nothing.
-- Locks: nothing.  Cost: reads what is due, every wakeup and every chat once, where these take less than 500 MB in all;
-- above that it says what repair found last.
CREATE OR REPLACE FUNCTION outbox.examine_wakeups()
RETURNS TABLE (verdict text, finding text, remedy text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_bytes bigint := pg_relation_size('outbox.message') + pg_relation_size('outbox.wakeup')
                      + pg_relation_size('outbox.chat');
    v_repaired_at timestamptz;
    v_missing bigint;
    v_chat text;
BEGIN
    IF v_bytes > 500 << 20 THEN
        v_repaired_at := (SELECT h.last_run_at FROM outbox.housekeeping h WHERE h.duty = 'repair');
        RETURN QUERY SELECT CASE WHEN v_repaired_at > v_now - interval '20 min' THEN 'ok' ELSE 'warn' END,
            format('not counted, because message, wakeup and chat take %s; repair looked %s', pg_size_pretty(v_bytes),
                   coalesce(outbox.time_in_words(v_now - v_repaired_at) || ' ago', 'never')),
            CASE WHEN v_repaired_at > v_now - interval '20 min' THEN ''
                 ELSE 'SELECT outbox.repair(); it takes a while, and is safe.' END;
        RETURN;
    END IF;
    SELECT sum(m.missing), min(format('chat %s of bot %s', m.chat_ids[1], m.bot)) INTO v_missing, v_chat
      FROM outbox.missing_wakeups() m;
    IF v_missing > 0 THEN
        RETURN QUERY SELECT 'fail', format('%s missing: nobody would look at messages that are due, such as those of %s',
                                           outbox.count_in_words(v_missing::int, 2147483647, 'wakeup'), v_chat),
            'SELECT outbox.repair(); and report it: this means a bug, or rows that were changed by hand.';
    ELSE
        RETURN QUERY SELECT 'ok', 'whatever is due has its wakeup'::text, ''::text;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.examine_wakeups IS 'Messages that nobody would look at. Part of examine.';
