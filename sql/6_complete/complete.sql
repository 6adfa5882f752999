-- Promise: a batch of outcomes applied: the message ends or waits in its place, its lane is free again, whatever is left in
-- the lane has a wakeup (I1), each API call has its row in attempt. Only the owner completes (I7): the lane must be in
-- flight for that message, that incarnation and that attempt. A late "sent" finishes a message that waits, or its dead
-- letter; any other late result is only recorded. A batch brought twice changes nothing the second time.
-- Locks, in order: chats by (chat_id, bot), waited for; then messages.
-- Cost: a fixed number of statements per batch; per result one probe of chat, message and lane.
-- p_results: array of {bot, chat_id, message_id, attempt, outcome: sent|wait|retry|uncertain|dead|unsent|discard, age_s since
-- the answer, duration_s of the call, http_status, error_code, error_class, error_text, retry_after_s, telegram_message_id,
-- meaning, reach: message|chat|bot, migrate_to, telegram_answer, correlation_id}. discard: the worker may not send it.
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
    v_reaches boolean;
    v_asked text[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.complete runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with autocommit and the default isolation level.';
    END IF;
    IF EXISTS (SELECT FROM jsonb_array_elements(p_results) r
                WHERE coalesce(r ->> 'outcome', '') NOT IN ('sent', 'wait', 'retry', 'uncertain', 'dead', 'unsent', 'discard')) THEN
        RAISE EXCEPTION 'a result has an outcome that does not exist' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use sent, wait, retry, uncertain, dead, unsent or discard.';
    END IF;

    PERFORM FROM (SELECT DISTINCT r.chat_id COLLATE "C" AS chat_id, r.bot
                    FROM jsonb_to_recordset(p_results) r (chat_id text, bot text) ORDER BY 1, 2) u
      CROSS JOIN LATERAL (SELECT FROM outbox.chat c WHERE c.chat_id = u.chat_id AND c.bot = u.bot FOR UPDATE) c;

    -- Look after you lock (I3): a later statement, which sees what was committed while the one above waited.
    v_now := outbox.clock();
    v_results := outbox.judge_results(p_worker, p_results, v_now);

    v_endings := ARRAY(
        SELECT ROW(r.message_id, r.fate, r.spent, r.attempt, r.telegram_message_id,
                   CASE WHEN r.fate = 'discarded' AND r.outcome <> 'discard' THEN 'shed'
                        WHEN r.fate <> 'sent' THEN coalesce(r.error_class, r.outcome) END,
                   CASE WHEN r.fate <> 'sent' THEN r.error_text END, p_worker, r.telegram_answer)::outbox.ending
          FROM unnest(v_results) r WHERE r.fate IN ('sent', 'dead', 'uncertain', 'discarded'));
    PERFORM outbox.finish_messages(v_endings);
    v_endings := ARRAY(
        SELECT ROW(r.message_id, 'sent', NULL, NULL, r.telegram_message_id, NULL, NULL, p_worker,
                   r.telegram_answer)::outbox.ending
          FROM unnest(v_results) r
         WHERE r.fate = 'resolve'
           -- After a recovery to a point in time another message may bear the number.
           AND coalesce((SELECT d.correlation_id = r.correlation_id FROM outbox.dead_letter d WHERE d.id = r.message_id), true));
    IF v_endings <> '{}' THEN
        PERFORM outbox.resolve_dead_letters(v_endings);
        PERFORM outbox.finish_moved(p_worker, v_results);
    END IF;

    UPDATE outbox.message m
       SET attempts = r.spent, calls = r.attempt,
           last_error = CASE WHEN r.fate = 'unsent' THEN m.last_error ELSE r.error_text END
      FROM unnest(v_results) r
     CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.message k WHERE k.id = r.message_id LIMIT 1) k
     -- The number of an unsent attempt is used up too: the same result brought again must not end the next flight.
     WHERE r.fate IN ('wait', 'unsent') AND m.ctid = k.ctid;

    PERFORM outbox.record_attempts(p_worker, v_results);
    v_owned := outbox.release_lanes(v_results, v_now);
    SELECT bool_or(u.reach <> 'message' OR u.error_class = 'paid_broadcast_refused'),
           array_agg(DISTINCT u.bot) FILTER (
               WHERE u.owned AND EXISTS (SELECT FROM outbox.request q WHERE q.chat_id = u.chat_id AND q.bot = u.bot))
      INTO v_reaches, v_asked FROM unnest(v_results) u;
    IF v_reaches THEN
        PERFORM outbox.reach_further(v_results, v_now);
    END IF;
    IF v_asked IS NOT NULL THEN
        -- Asked for while the lane was in flight: its wakeup was dropped.
        PERFORM outbox.cancel_requested(b, ARRAY(SELECT DISTINCT u.chat_id FROM unnest(v_results) u
                                                  WHERE u.owned AND u.bot = b), v_now, 500)
           FROM unnest(v_asked) b;
    END IF;
    PERFORM outbox.file_follow_ups(v_results, outbox.clock());
    RETURN v_owned;
END $$;
COMMENT ON FUNCTION outbox.complete IS
    'Applies a batch of outcomes of API calls; only the owner of a lane changes it. For workers.';
