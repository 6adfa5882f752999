-- Promise: up to p_most lanes of one priority, locked and ready to send by p_until; every other lane met on the way keeps
-- a wakeup (I1): one that cools at the time it may go, one that someone holds a few ms later, a worse head at its own
-- priority, one too many at its old time.
-- Locks: wakeups, then chats by chat_id, all SKIP LOCKED (but for a chat row that another transaction is just creating).
-- Cost: one delete per wakeup; redundant ones of a hot lane, and lanes of which nothing is wanted, in doubling batches, within
-- a budget of 2,000 per call.
-- p_taken: lanes that this claim already holds. p_cleared: lanes in which this claim has ended expired messages: it ends
-- no more there. p_may_end: how many messages may end here; ended: how many did, cleared: in which lanes.
CREATE OR REPLACE FUNCTION outbox.take_wakeups(
    p_bot text, p_priority smallint, p_most int, p_now timestamptz, p_until timestamptz, p_taken text[], p_cleared text[],
    p_may_end int, OUT lanes outbox.lane[], OUT cleared text[], OUT ended int)
LANGUAGE plpgsql AS $$
DECLARE
    v_taken text[] := p_taken;
    v_cleared text[] := p_cleared;
    v_moved text[] := '{}';
    v_want int;
    v_look int := 0;
    v_popped int := 0;
    v_spent int := 0;
    v_lanes text[];
    v_due timestamptz[];
    v_free text[];
    v_asked text[];
    v_back text[];
    v_back_at timestamptz[];
    v_turn record;
    r record;
BEGIN
    lanes := '{}';
    ended := 0;
    cleared := '{}';
    LOOP
        v_want := p_most - cardinality(lanes);
        EXIT WHEN v_want <= 0 OR v_spent >= 2000;
        v_look := greatest(v_look, v_want);
        WITH popped AS (
            DELETE FROM outbox.wakeup w WHERE w.ctid = ANY (ARRAY(
                SELECT w.ctid FROM outbox.wakeup w
                 WHERE w.bot = p_bot AND w.priority = p_priority AND w.due_at <= p_now
                 ORDER BY w.due_at LIMIT greatest(v_look, v_spent)
                   FOR UPDATE SKIP LOCKED))
            RETURNING w.chat_id, w.due_at),
        lane AS (
            SELECT l.chat_id, l.due_at, l.wakeups, row_number() OVER (ORDER BY l.due_at, l.chat_id) <= v_look AS wanted
              FROM (SELECT p.chat_id, min(p.due_at) AS due_at, count(*) AS wakeups FROM popped p GROUP BY p.chat_id) l)
        SELECT coalesce(sum(l.wakeups), 0),
               coalesce(array_agg(l.chat_id ORDER BY l.chat_id)
                        FILTER (WHERE l.wanted AND l.chat_id <> ALL (v_taken)), '{}'),
               array_agg(l.due_at ORDER BY l.chat_id) FILTER (WHERE l.wanted AND l.chat_id <> ALL (v_taken)),
               coalesce(array_agg(l.chat_id) FILTER (WHERE NOT l.wanted), '{}'),
               coalesce(array_agg(l.due_at) FILTER (WHERE NOT l.wanted), '{}')
          INTO v_popped, v_lanes, v_due, v_back, v_back_at FROM lane l;
        EXIT WHEN v_popped = 0;
        v_spent := v_spent + v_popped;

        -- Only what is missing: ON CONFLICT would wait for a transaction that has updated the row. And by a probe: NOT
        -- EXISTS would be an anti-join over all chats.
        INSERT INTO outbox.chat (chat_id, bot)
        SELECT l, p_bot FROM unnest(v_lanes) l
         WHERE (SELECT true FROM outbox.chat k WHERE k.chat_id = l AND k.bot = p_bot LIMIT 1) IS NULL
        ON CONFLICT DO NOTHING;
        SELECT coalesce(array_agg(f.chat_id), '{}'), array_agg(f.chat_id) FILTER (WHERE f.asked) INTO v_free, v_asked
          FROM (SELECT c.chat_id, c.in_flight IS NULL
                       AND (SELECT true FROM outbox.request q WHERE q.chat_id = c.chat_id AND q.bot = p_bot LIMIT 1) AS asked
                  FROM outbox.chat c WHERE c.chat_id = ANY (v_lanes) AND c.bot = p_bot
                 ORDER BY c.chat_id FOR UPDATE SKIP LOCKED) f;
        IF cardinality(v_free) < cardinality(v_lanes) THEN
            v_back := v_back || ARRAY(SELECT l FROM unnest(v_lanes) l WHERE l <> ALL (v_free));
            v_back_at := v_back_at
                || array_fill(p_now + interval '5 ms', ARRAY[cardinality(v_lanes) - cardinality(v_free)]);
        END IF;
        IF v_asked IS NOT NULL THEN
            ended := ended + outbox.cancel_requested(p_bot, v_asked, p_now, greatest(p_may_end - ended, 0));
            -- More than may end now: nothing of the lane goes before it is looked at again.
            v_asked := ARRAY(SELECT l FROM unnest(v_asked) l
                              WHERE EXISTS (SELECT FROM outbox.request q WHERE q.chat_id = l AND q.bot = p_bot));
            v_free := ARRAY(SELECT l FROM unnest(v_free) l WHERE l <> ALL (v_asked));
            v_back := v_back || v_asked;
            v_back_at := v_back_at || array_fill(p_now + interval '1 ms', ARRAY[cardinality(v_asked)]);
        END IF;
        IF v_back <> '{}' THEN
            PERFORM outbox.file_wakeups(p_bot, v_back, array_fill(p_priority, ARRAY[cardinality(v_back)]), v_back_at);
        END IF;

        -- Look after you lock (I3): what was committed while the locks above were taken is seen by this statement only.
        WITH looked AS MATERIALIZED (
            SELECT c.chat_id, h.id, h.priority, h.attempt, h.bytes, h.cost, h.next_attempt_at, coalesce(w.at, p_now) AS at,
                   outbox.is_unwanted(c, h.expires_at, h.method, h.next_attempt_at, w.at, p_now)
                       OR h.tag IS NOT NULL AND outbox.is_stopped(h.tag, p_bot, h.id)
                       -- In whatever lane it was asked for: the chat may have moved since.
                       OR (SELECT true FROM outbox.request q WHERE q.message_id = h.id LIMIT 1) IS NOT NULL AS ends,
                   h.collapse_key IS NOT NULL
                       AND EXISTS (SELECT FROM outbox.message m
                                    WHERE m.chat_id = l AND m.bot = p_bot AND m.collapse_key = h.collapse_key
                                      AND m.next_attempt_at <= p_now AND m.id <> h.id
                                      -- An edit supersedes edits of the same message, and not that message.
                                      AND coalesce(m.target_id, 0) = coalesce(h.target_id, 0)) AS collapses,
                   CASE WHEN h.target_id IS NOT NULL AND coalesce(w.at <= p_until, true) THEN
                       (SELECT t.state FROM outbox.find_target(h.target_id, p_bot, l) t) END AS target,
                   c.last_sent_at > p_now + interval '1 s' AS is_ahead, c.moved_to IS NOT NULL AS has_moved
              FROM unnest(v_free) l
             CROSS JOIN LATERAL (SELECT * FROM outbox.chat c
                                  WHERE c.chat_id = l AND c.bot = p_bot AND c.in_flight IS NULL LIMIT 1) c
             CROSS JOIN LATERAL outbox.head_of_lane(l, p_bot, p_now) h
             CROSS JOIN LATERAL (
                SELECT greatest(outbox.head_waits_until(c, h.priority, h.method, h.attempt),
                                CASE WHEN h.cost > 1 THEN outbox.group_waits_until(c, h.cost) END) AS at OFFSET 0) w),
        judged AS MATERIALIZED (
            SELECT k.*, CASE WHEN k.has_moved THEN CASE WHEN k.chat_id = ANY (v_moved) THEN 'enough' ELSE 'move' END
                             WHEN k.is_ahead THEN 'ahead'
                             WHEN k.ends AND k.chat_id = ANY (v_cleared) THEN 'enough' WHEN k.ends THEN 'end'
                             WHEN k.at > p_until THEN 'wait' WHEN k.priority > p_priority THEN 'worse'
                             WHEN (k.collapses OR k.target <> 'sent') AND k.chat_id = ANY (v_cleared) THEN 'enough'
                             WHEN k.target = 'waits' THEN 'behind' WHEN k.collapses THEN 'collapse'
                             WHEN k.target <> 'sent' THEN 'orphan' ELSE 'go' END AS verdict
              FROM looked k)
        SELECT array_agg(ROW(j.chat_id, j.id, j.priority, j.attempt, j.bytes, j.at, j.cost)::outbox.lane
                         ORDER BY j.priority, j.next_attempt_at, j.id) FILTER (WHERE j.verdict = 'go') AS lanes,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'go') AS taken,
               array_agg(j.chat_id) FILTER (WHERE j.verdict <> 'go') AS back,
               array_agg(j.priority) FILTER (WHERE j.verdict <> 'go') AS back_priorities,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'move') AS moving,
               -- Where something ended or changed places, the lane keeps its turn: before others of the same moment.
               array_agg(CASE WHEN j.verdict = 'wait' THEN j.at
                              WHEN j.verdict IN ('enough', 'ahead') THEN p_now + interval '1 ms'
                              WHEN j.verdict IN ('worse', 'move') THEN p_now
                              ELSE v_due[array_position(v_lanes, j.chat_id)] - interval '1 microsecond' END)
                   FILTER (WHERE j.verdict <> 'go') AS back_at,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'ahead') AS ahead,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'end') AS ending,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'collapse') AS collapsing,
               array_agg(j.id) FILTER (WHERE j.verdict = 'collapse') AS collapsing_heads,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'behind') AS behind,
               array_agg(j.chat_id) FILTER (WHERE j.verdict = 'orphan') AS orphaned
          INTO r FROM judged j;
        IF cardinality(r.lanes) > v_want THEN
            -- Those that are due first go; the others keep their turn.
            WITH turn AS MATERIALIZED (
                SELECT l.*, v_due[array_position(v_lanes, l.chat_id)] AS due_at,
                       row_number() OVER (ORDER BY v_due[array_position(v_lanes, l.chat_id)], l.chat_id) <= v_want AS goes
                  FROM unnest(r.lanes) l),
            kept AS (
                SELECT outbox.file_wakeups(p_bot, array_agg(t.chat_id), array_agg(t.priority), array_agg(t.due_at))
                  FROM turn t WHERE NOT t.goes)
            SELECT array_agg(ROW(t.chat_id, t.message_id, t.priority, t.attempt, t.bytes, t.may_go_at, t.cost)::outbox.lane)
                       FILTER (WHERE t.goes) AS lanes,
                   array_agg(t.chat_id) FILTER (WHERE t.goes) AS taken, (SELECT count(*) FROM kept) AS kept
              INTO v_turn FROM turn t;
            r.lanes := v_turn.lanes;
            r.taken := v_turn.taken;
        END IF;
        lanes := lanes || r.lanes;
        v_taken := v_taken || r.taken;
        IF r.back IS NOT NULL THEN
            PERFORM outbox.file_wakeups(p_bot, r.back, r.back_priorities, r.back_at);
        END IF;
        IF r.ahead IS NOT NULL THEN
            PERFORM outbox.pull_lanes_back(p_bot, r.ahead, p_now);
        END IF;
        IF r.moving IS NOT NULL THEN
            -- What was written for the old id after the chat had moved; the wakeup filed above finds the lane empty.
            v_moved := v_moved || r.moving;
            PERFORM outbox.follow_chats(p_bot, r.moving, p_now);
        END IF;
        IF r.behind IS NOT NULL THEN
            EXIT WHEN ended >= p_may_end;
            v_cleared := v_cleared || r.behind;
            cleared := cleared || r.behind;
            ended := ended + outbox.go_behind_targets(p_bot, r.behind, p_now, p_may_end - ended);
        END IF;
        IF r.orphaned IS NOT NULL THEN
            EXIT WHEN ended >= p_may_end;
            v_cleared := v_cleared || r.orphaned;
            cleared := cleared || r.orphaned;
            ended := ended + outbox.end_followers(p_bot, r.orphaned, p_now, p_may_end - ended);
        END IF;
        IF r.collapsing IS NOT NULL THEN
            EXIT WHEN ended >= p_may_end;
            v_cleared := v_cleared || r.collapsing;
            cleared := cleared || r.collapsing;
            ended := ended + outbox.supersede(p_bot, r.collapsing_heads, p_now, p_may_end - ended);
        END IF;
        IF r.ending IS NOT NULL THEN
            -- The budget of endings is spent: the wakeup filed above is for the next claim.
            EXIT WHEN ended >= p_may_end;
            v_cleared := v_cleared || r.ending;
            cleared := cleared || r.ending;
            ended := ended + outbox.end_unwanted(p_bot, r.ending, p_now, p_may_end - ended);
        END IF;
        -- Where none of them goes, such as those of a cancelled broadcast, look at more of them at a time.
        v_look := CASE WHEN r.lanes IS NULL THEN least(2 * v_look, 200) ELSE 0 END;
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.take_wakeups IS
    'Pops wakeups of one bot and priority; returns lanes that may send, re-files the rest. Part of claim.';
