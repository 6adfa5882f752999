-- Promise: a batch of outcomes applied: the message ends or waits in its place, its lane is free again, whatever is left in
-- the lane has a wakeup (I1), each API call has its row in attempt. Only the owner completes (I7): the lane must be in
-- flight for that message, that incarnation and that attempt. A late "sent" finishes a message that waits, or its
-- uncertain dead letter; any other late result is only recorded.
-- Locks, in order: chats by (chat_id, bot), waited for; then messages.
-- Cost: a fixed number of statements per batch; per result one probe of chat, message and lane.
-- p_results: array of {bot, chat_id, message_id, attempt, outcome: sent|wait|retry|uncertain|dead|unsent, age_s since the
-- answer, duration_s of the call, http_status, error_code, error_class, error_text, retry_after_s, telegram_message_id}.
-- Returns how many were applied as their owner's.
CREATE OR REPLACE FUNCTION outbox.complete(p_worker bigint, p_results jsonb) RETURNS int
LANGUAGE plpgsql
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off AS $$
DECLARE
    v_now timestamptz;
    v_results outbox.result[];
    v_endings outbox.ending[];
    v_owned int;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.complete runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with autocommit and the default isolation level.';
    END IF;
    IF EXISTS (SELECT FROM jsonb_array_elements(p_results) r
                WHERE coalesce(r ->> 'outcome', '') NOT IN ('sent', 'wait', 'retry', 'uncertain', 'dead', 'unsent')) THEN
        RAISE EXCEPTION 'a result has an outcome that does not exist' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use sent, wait, retry, uncertain, dead or unsent.';
    END IF;

    PERFORM FROM (SELECT DISTINCT r.chat_id COLLATE "C" AS chat_id, r.bot
                    FROM jsonb_to_recordset(p_results) r (chat_id text, bot text) ORDER BY 1, 2) u
      CROSS JOIN LATERAL (SELECT FROM outbox.chat c WHERE c.chat_id = u.chat_id AND c.bot = u.bot FOR UPDATE) c;

    -- Look after you lock (I3): this statement sees what was committed while the one above waited.
    v_now := outbox.clock();
    v_results := ARRAY(
        SELECT ROW(r.bot, r.chat_id, r.message_id, r.attempt, r.outcome, v_now - make_interval(secs => greatest(r.age_s, 0)),
                   make_interval(secs => r.duration_s), r.http_status, r.error_code, r.error_class, left(r.error_text, 500),
                   r.retry_after_s, r.telegram_message_id, f.owned, m.priority,
                   m.attempts + (r.outcome NOT IN ('wait', 'unsent'))::int, f.fate)::outbox.result
          FROM jsonb_to_recordset(p_results) r (
                   bot text, chat_id text, message_id bigint, attempt int, outcome text, age_s float8, duration_s float8,
                   http_status int, error_code int, error_class text, error_text text, retry_after_s float8,
                   telegram_message_id bigint)
          LEFT JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = r.chat_id AND c.bot = r.bot LIMIT 1) c ON true
          LEFT JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = r.message_id LIMIT 1) m ON true
          LEFT JOIN LATERAL (SELECT * FROM outbox.bot o WHERE o.bot = r.bot LIMIT 1) o ON true
         CROSS JOIN LATERAL (SELECT coalesce(c.in_flight = r.message_id AND c.worker = p_worker AND c.attempt = r.attempt,
                                             false) AS owned) w
         CROSS JOIN LATERAL (
            SELECT w.owned, CASE
                WHEN m.id IS NULL THEN CASE WHEN r.outcome = 'sent' THEN 'resolve' ELSE 'record' END
                WHEN NOT w.owned THEN
                    CASE WHEN r.outcome = 'sent' AND c.in_flight IS DISTINCT FROM m.id THEN 'sent' ELSE 'record' END
                WHEN r.outcome IN ('sent', 'dead') THEN r.outcome
                WHEN r.outcome = 'uncertain' AND m.on_uncertain = 'hold' THEN 'uncertain'
                WHEN r.outcome IN ('retry', 'uncertain') AND m.attempts + 1 >= coalesce(m.max_attempts, o.max_attempts)
                    THEN 'dead'
                WHEN r.outcome = 'unsent' THEN 'unsent'
                ELSE 'wait' END AS fate) f);

    v_endings := ARRAY(
        SELECT ROW(r.message_id, r.fate, r.spent, r.attempt, r.telegram_message_id,
                   CASE WHEN r.fate <> 'sent' THEN coalesce(r.error_class, r.outcome) END,
                   CASE WHEN r.fate <> 'sent' THEN r.error_text END, p_worker)::outbox.ending
          FROM unnest(v_results) r WHERE r.fate IN ('sent', 'dead', 'uncertain'));
    PERFORM outbox.finish_messages(v_endings);
    v_endings := ARRAY(
        SELECT ROW(r.message_id, 'sent', NULL, NULL, r.telegram_message_id, NULL, NULL, p_worker)::outbox.ending
          FROM unnest(v_results) r WHERE r.fate = 'resolve');
    IF v_endings <> '{}' THEN
        PERFORM outbox.resolve_uncertain(v_endings);
    END IF;

    UPDATE outbox.message m
       SET attempts = r.spent, calls = r.attempt, last_error = r.error_text
      FROM unnest(v_results) r
     CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.message k WHERE k.id = r.message_id LIMIT 1) k
     WHERE r.fate = 'wait' AND m.ctid = k.ctid;

    PERFORM outbox.record_attempts(p_worker, v_results);
    v_owned := outbox.release_lanes(v_results, v_now);

    v_now := outbox.clock();
    -- Look again, in a later statement: one wakeup for what is left in each lane, at the time its first due head may go.
    PERFORM outbox.file_wakeups(n.bot, array_agg(n.chat_id), array_agg(n.priority), array_agg(n.due_at))
       FROM (SELECT l.bot, l.chat_id, h.priority,
                    greatest(outbox.lane_waits_until(c, h.priority), v_now) AS due_at
               FROM unnest(v_results) l
              CROSS JOIN LATERAL (SELECT FROM outbox.message m WHERE m.chat_id = l.chat_id AND m.bot = l.bot LIMIT 1) m
              CROSS JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = l.chat_id AND c.bot = l.bot LIMIT 1) c
              CROSS JOIN LATERAL outbox.head_of_lane(l.chat_id, l.bot, v_now) h
              WHERE l.owned) n
      GROUP BY n.bot;
    RETURN v_owned;
END $$;
COMMENT ON FUNCTION outbox.complete IS
    'Applies a batch of outcomes of API calls; only the owner of a lane changes it. For workers.';
