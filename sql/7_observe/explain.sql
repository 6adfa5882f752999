-- Promise: why a message is not sent yet, what goes before it and when it will probably go; of one that ended, how it
-- ended; of an unknown id, that it is unknown. Always one row.
-- Locks: nothing.  Cost: index probes; what is ahead is counted up to 10,000; and that of estimate_pressure where the bot
-- can send.
-- reasons: whatever stands in its way now, its own first, then its chat's, then the bot's. waits_until: not before
-- then; NULL: nothing but its turn. ahead_in_lane: messages of its chat that go before it; ahead_of_bot: other chats
-- that do. expected_at NULL: not as things are.
CREATE OR REPLACE FUNCTION outbox.explain(
    p_id bigint, OUT id bigint, OUT status text, OUT reasons text[], OUT waits_until timestamptz, OUT ahead_in_lane int,
    OUT ahead_of_bot int, OUT expected_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_most CONSTANT int := 10000;
    v_now CONSTANT timestamptz := outbox.clock();
    m outbox.message;
    o outbox.bot;
    c outbox.chat;
    v_lane_until timestamptz;
    k outbox.bucket;
    v_waits record;
    v_turns record;
    v_pressure record;
    v_wishes record;
    v_ends boolean := false;
BEGIN
    id := p_id;
    SELECT * INTO m FROM outbox.message x WHERE x.id = p_id;
    IF m.id IS NULL THEN
        SELECT e.status, e.reasons INTO status, reasons FROM outbox.explain_end(p_id) e;
        RETURN;
    END IF;
    SELECT * INTO o FROM outbox.bot x WHERE x.bot = m.bot;
    SELECT * INTO c FROM outbox.chat x WHERE x.chat_id = m.chat_id AND x.bot = m.bot;
    IF c.in_flight = m.id THEN
        status := 'sending';
        reasons := ARRAY[format('attempt %s is in flight at worker %s since %s', c.attempt, c.worker,
                                outbox.moment_in_words(c.claimed_at))]
            || CASE WHEN outbox.is_cancelled(m) THEN 'a cancel was asked for: it is not tried again'::text END;
        reasons := array_remove(reasons, NULL);
        expected_at := v_now;
        RETURN;
    END IF;

    status := 'queued';
    reasons := '{}';
    IF m.expires_at <= v_now THEN
        reasons := reasons || format('expired at %s: ends unsent when its chat is looked at',
                                     outbox.moment_in_words(m.expires_at));
        v_ends := true;
    END IF;
    v_wishes := outbox.explain_wishes(m, v_now);
    reasons := reasons || v_wishes.reasons;
    v_ends := v_ends OR v_wishes.ends;
    IF m.next_attempt_at > v_now THEN
        reasons := reasons || format('scheduled for %s', outbox.moment_in_words(m.next_attempt_at));
    END IF;
    IF c.suppressed_until > v_now THEN
        reasons := reasons || format('its chat is suppressed until %s (%s): it will be discarded',
                                     outbox.moment_in_words(c.suppressed_until),
                                     c.suppressed_reason);
        v_ends := true;
    END IF;
    IF c.moved_to IS NOT NULL THEN
        reasons := reasons || format('its chat has become %s: it will be sent there', c.moved_to);
        SELECT * INTO c FROM outbox.chat x WHERE x.chat_id = c.moved_to AND x.bot = m.bot;
    END IF;
    v_lane_until := outbox.head_waits_until(c, m.priority, m.method, m.calls + 1);
    reasons := reasons || outbox.explain_lane(c, o, m, v_now);
    IF c.in_flight IS NOT NULL THEN
        reasons := reasons || format('message %s of its chat is in flight since %s', c.in_flight,
                                     outbox.moment_in_words(c.claimed_at));
    END IF;
    ahead_in_lane := outbox.count_ahead_in_lane(m, v_now, v_most);
    IF ahead_in_lane > 0 THEN
        reasons := reasons || format('%s of its chat %s first',
                                     outbox.count_in_words(ahead_in_lane, v_most, 'message'),
                                     CASE ahead_in_lane WHEN 1 THEN 'goes' ELSE 'go' END);
    END IF;

    SELECT * INTO k FROM outbox.bucket x WHERE x.bot = m.bot;
    v_waits := outbox.bot_waits_for(k, v_now);
    reasons := reasons || CASE v_waits.waits_for
        WHEN 'stopped' THEN format('bot %s is paused by an operator: SELECT outbox.resume(%L)', m.bot, m.bot)
        WHEN 'unauthorised' THEN format('bot %s was refused by Telegram: it waits for a bot token that works', m.bot)
        WHEN 'no worker' THEN format('no living worker serves bot %s', m.bot)
        WHEN 'paused' THEN format('bot %s is paused until %s', m.bot, outbox.moment_in_words(v_waits.waits_until))
        WHEN 'breaker open' THEN format('the breaker of bot %s is open until %s', m.bot,
                                            outbox.moment_in_words(v_waits.waits_until))
        WHEN 'breaker half-open' THEN format('the breaker of bot %s lets only probes through', m.bot) END;
    -- A chat that was never sent to has no row yet.
    v_turns := outbox.count_ahead_of_lane(m.bot, coalesce(c.chat_id, m.chat_id), m.priority,
                                          greatest(m.next_attempt_at, m.created_at, v_lane_until), v_now, v_most);
    ahead_of_bot := least(v_turns.better + v_turns.same, v_most);
    IF ahead_of_bot > 0 THEN
        reasons := reasons || format('%s %s turn first',
                                     outbox.count_in_words(ahead_of_bot, v_most, 'other chat'),
                                     CASE ahead_of_bot WHEN 1 THEN 'has its' ELSE 'have their' END);
    END IF;
    reasons := array_remove(reasons, NULL);
    waits_until := nullif(greatest(v_now, m.next_attempt_at, v_lane_until, v_waits.waits_until), v_now);

    IF NOT v_ends AND coalesce(v_waits.waits_for, '') NOT IN ('stopped', 'unauthorised', 'no worker') THEN
        SELECT * INTO v_pressure FROM outbox.estimate_pressure(m.bot) p WHERE p.priority = m.priority;
        expected_at := greatest(
            m.next_attempt_at, v_lane_until,
            greatest(v_now, v_pressure.waits_until) + make_interval(secs => outbox.turn_in_s(
                m.priority, v_pressure.per_s, v_turns.same, v_pressure.better, v_pressure.beside, v_pressure.share,
                v_pressure.inflow_per_s, v_pressure.worse)));
        -- Then its chat takes turns with the others, as long as they have something.
        expected_at := expected_at + make_interval(secs => greatest(
            ahead_in_lane * o.chat_interval_s,
            least(ahead_in_lane * v_pressure.ahead, v_pressure.due - v_turns.same) / v_pressure.per_s));
        IF m.expires_at <= expected_at THEN
            reasons := reasons || format('it expires at %s, before its turn', outbox.moment_in_words(m.expires_at));
            expected_at := NULL;
        END IF;
    END IF;
    IF reasons = '{}' THEN
        reasons := ARRAY['nothing stands in its way: it goes with the next claim'];
    END IF;
END $$;
COMMENT ON FUNCTION outbox.explain(bigint) IS
    'Why a message is not sent yet, what goes first, and when it will probably go (NULL: not as things are). For people.';

-- Promise: a time to the second, in UTC whatever the session's time zone.  Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.moment_in_words(p_at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN isfinite(p_at) THEN to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
                ELSE p_at::text END
$$;
COMMENT ON FUNCTION outbox.moment_in_words IS 'A time for people, in UTC. Part of explain.';

-- Promise: a count in words that says where counting stopped.  Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.count_in_words(p_count int, p_most int, p_noun text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT concat(p_count, CASE WHEN p_count >= p_most THEN ' or more' END, ' ', p_noun,
                  CASE WHEN p_count <> 1 THEN 's' END)
$$;
COMMENT ON FUNCTION outbox.count_in_words IS 'A capped count in words. Part of explain.';

-- Promise: what makes a chat wait just now: its interval, the window of a group, a 429, a failed attempt.
-- Locks: nothing.  Cost: a few index probes.
CREATE OR REPLACE FUNCTION outbox.explain_lane(c outbox.chat, o outbox.bot, m outbox.message, p_now timestamptz)
RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_reasons text[] := '{}';
    v_backoff_until timestamptz := (SELECT max(b) FROM unnest(c.backoff_until[: m.priority + 1]) b);
    v_head bigint := (SELECT h.id FROM outbox.head_of_lane(c.chat_id, c.bot, p_now) h);
    v_error text;
BEGIN
    IF c.next_send_at > p_now THEN
        v_reasons := v_reasons || CASE
            WHEN EXISTS (SELECT FROM outbox.attempt a
                          WHERE a.message_id IN (m.id, v_head) AND a.outcome = 'wait'
                            AND a.answered_at + make_interval(secs => a.retry_after_s)
                                >= c.next_send_at - interval '1 ms')
            THEN format('Telegram told its chat to wait (429) until %s', outbox.moment_in_words(c.next_send_at))
            WHEN cardinality(c.group_sent_at) >= o.group_limit
                 AND c.next_send_at <= c.group_sent_at[cardinality(c.group_sent_at) - o.group_limit + 1]
                                       + make_interval(secs => o.group_window_s)
            THEN format('its group has had %s messages in %s s: the next may go at %s', o.group_limit, o.group_window_s,
                        outbox.moment_in_words(c.next_send_at))
            WHEN c.next_send_at > p_now + make_interval(secs => o.chat_interval_s)
            THEN format('Telegram told its chat to wait (429) until %s', outbox.moment_in_words(c.next_send_at))
            ELSE format('its chat was sent to a moment ago: the next may go at %s',
                        outbox.moment_in_words(c.next_send_at)) END;
    END IF;
    IF v_backoff_until > p_now THEN
        SELECT x.last_error INTO v_error FROM outbox.message x WHERE x.id = coalesce(v_head, m.id);
        v_reasons := v_reasons || format('its chat waits until %s after a failed attempt%s',
                                         outbox.moment_in_words(v_backoff_until),
                                         coalesce(': ' || left(v_error, 200), ''));
    END IF;
    RETURN v_reasons;
END $$;
COMMENT ON FUNCTION outbox.explain_lane IS 'What makes a chat wait, in words. Part of explain.';

-- Promise: how a message ended, or that nobody knows its id.
-- Locks: nothing.  Cost: one index probe per kept day.
CREATE OR REPLACE FUNCTION outbox.explain_end(p_id bigint, OUT status text, OUT reasons text[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_why text;
    v_text text;
    v_at timestamptz;
    v_attempts int;
BEGIN
    SELECT e.status, e.error_class, left(e.error_text, 200), e.at, e.attempts
      INTO status, v_why, v_text, v_at, v_attempts
      FROM (SELECT d.status, d.error_class, d.error_text, d.died_at AS at, d.attempts
              FROM outbox.dead_letter d WHERE d.id = p_id
            UNION ALL
            SELECT f.status, f.error_class, f.error_text, f.finished_at, f.attempts
              FROM outbox.finished f WHERE f.id = p_id) e
     ORDER BY e.at DESC LIMIT 1;
    IF status IS NULL THEN
        status := 'unknown';
        reasons := ARRAY[format('no message %s: its transaction was never committed, or it ended before what is kept',
                                p_id)];
        RETURN;
    END IF;
    reasons := ARRAY[format('ended as %s at %s after %s', status, outbox.moment_in_words(v_at),
                            outbox.count_in_words(v_attempts, 2147483647, 'attempt')),
                     concat_ws(': ', v_why, v_text)];
    IF status IN ('dead', 'uncertain') THEN
        reasons := reasons || 'it is a dead letter: an operator may retry or discard it'::text;
    END IF;
    reasons := array_remove(reasons, '');
END $$;
COMMENT ON FUNCTION outbox.explain_end IS 'How a message ended, in words. Part of explain.';
