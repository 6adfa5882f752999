-- Promise: the one door out of message (I8): each of these messages moves to finished or, dead or uncertain, to
-- dead_letter, in the same statement; ids that are not in message move nothing. Whoever watches one hears of its end.
-- Locks: the messages; the caller holds their lanes.  Cost: one delete and one insert each; a probe each for watches.
CREATE OR REPLACE FUNCTION outbox.finish_messages(p_endings outbox.ending[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_watches tid[];
    v_told bigint;
BEGIN
    WITH ended AS (
        DELETE FROM outbox.message m
         USING unnest(p_endings) e
         CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.message k WHERE k.id = e.message_id LIMIT 1) k
         WHERE m.ctid = k.ctid
        RETURNING m.*, e.status, e.attempts AS spent, e.calls AS called, e.telegram_message_id, e.error_class, e.error_text,
                  e.worker, e.telegram_answer),
    dead AS (
        INSERT INTO outbox.dead_letter (
            id, bot, chat_id, method, payload, priority, status, tag, correlation_id, idempotency_key, collapse_key,
            on_uncertain, created_at, scheduled_for, expires_at, died_at, attempts, calls, max_attempts, error_class,
            error_text, worker, target_id)
        SELECT e.id, e.bot, e.chat_id, e.method, e.payload, e.priority, e.status, e.tag, e.correlation_id,
               e.idempotency_key, e.collapse_key, e.on_uncertain, e.created_at, e.next_attempt_at, e.expires_at,
               outbox.clock(), e.spent, e.called, e.max_attempts, e.error_class, e.error_text, e.worker, e.target_id
          FROM ended e WHERE e.status IN ('dead', 'uncertain'))
    INSERT INTO outbox.finished (
        id, bot, chat_id, method, payload, priority, status, tag, correlation_id, created_at, scheduled_for, finished_at,
        attempts, telegram_message_id, error_class, error_text, worker, telegram_answer)
    SELECT e.id, e.bot, e.chat_id, e.method,
           CASE WHEN (SELECT o.keep_payload FROM outbox.bot o WHERE o.bot = e.bot) THEN e.payload END, e.priority,
           e.status, e.tag, e.correlation_id, e.created_at, e.next_attempt_at, outbox.clock(), e.spent,
           e.telegram_message_id, e.error_class, e.error_text, e.worker, e.telegram_answer
      FROM ended e WHERE e.status NOT IN ('dead', 'uncertain');

    -- Only for those who asked: NOTIFY serialises commits (I4).
    v_watches := ARRAY(SELECT k.ctid FROM unnest(p_endings) e
                        CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.watch k WHERE k.message_id = e.message_id
                                        -- Those that ran out are being swept away.
                                        AND k.until >= outbox.clock()) k);
    IF v_watches <> '{}' THEN
        WITH told AS (DELETE FROM outbox.watch w WHERE w.ctid = ANY (v_watches) RETURNING w.message_id)
        SELECT count(pg_notify('outbox_ended', t.message_id::text)) FROM (SELECT DISTINCT t.message_id FROM told t) t
          INTO v_told;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.finish_messages IS 'Moves messages to finished or dead_letter: the one door out of message.';
