-- Promise: what each result means for its message: its fate. sent, dead, uncertain: it ends so. wait: it stays in its place,
-- an attempt spent or not. unsent: as if never claimed. resolve: it has ended, perhaps as a dead letter. record: too late.
-- Locks: nothing, the caller holds the chats.  Cost: one probe of chat, message and bot per result; see recall_attempts.
CREATE OR REPLACE FUNCTION outbox.judge_results(p_worker bigint, p_results jsonb, p_now timestamptz)
RETURNS outbox.result[]
LANGUAGE plpgsql AS $$
DECLARE
    v_results outbox.result[];
BEGIN
    v_results := ARRAY(
        SELECT ROW(r.bot, r.chat_id, r.message_id, r.attempt, r.outcome,
                   p_now - make_interval(secs => greatest(r.age_s, 0)), make_interval(secs => r.duration_s),
                   r.http_status, r.error_code, r.error_class, left(r.error_text, 500), r.retry_after_s,
                   r.telegram_message_id, w.owned, m.priority,
                   -- A late "sent" belongs to an attempt that the reaper has counted.
                   CASE WHEN w.owned THEN m.attempts + (r.outcome NOT IN ('wait', 'unsent') AND NOT x.excused)::int
                        ELSE greatest(m.attempts, 1) END,
                   CASE
                   WHEN m.id IS NULL THEN CASE WHEN r.outcome = 'sent' THEN 'resolve' ELSE 'record' END
                   -- If another worker is sending it just now, the two are a duplicate that nothing undoes.
                   WHEN NOT w.owned THEN
                       CASE WHEN r.outcome = 'sent' AND c.in_flight IS DISTINCT FROM m.id THEN 'sent' ELSE 'record' END
                   WHEN r.outcome IN ('sent', 'dead', 'unsent') THEN r.outcome
                   WHEN r.outcome = 'wait' OR x.excused THEN 'wait'
                   WHEN r.outcome = 'uncertain' AND m.on_uncertain = 'hold' THEN 'uncertain'
                   WHEN m.attempts + 1 >= coalesce(m.max_attempts, o.max_attempts) THEN 'dead'
                   ELSE 'wait' END, false)::outbox.result
          FROM (-- One result per attempt, the truth before a doubt.
                SELECT DISTINCT ON (x.message_id, x.attempt) x.*
                  FROM jsonb_to_recordset(p_results) x (
                           bot text, chat_id text, message_id bigint, attempt int, outcome text, age_s float8,
                           duration_s float8, http_status int, error_code int, error_class text, error_text text,
                           retry_after_s float8, telegram_message_id bigint)
                 ORDER BY x.message_id, x.attempt, x.outcome <> 'sent', x.age_s DESC) r
          LEFT JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = r.chat_id AND c.bot = r.bot LIMIT 1) c ON true
          LEFT JOIN LATERAL (SELECT * FROM outbox.message m
                              WHERE m.id = r.message_id AND m.chat_id = r.chat_id AND m.bot = r.bot LIMIT 1) m ON true
          LEFT JOIN LATERAL (SELECT * FROM outbox.bot o WHERE o.bot = r.bot LIMIT 1) o ON true
         CROSS JOIN LATERAL (SELECT coalesce(c.in_flight = r.message_id AND c.worker = p_worker
                                             AND c.attempt = r.attempt, false) AS owned) w
         -- A bot token that is refused is not the message's fault.
         CROSS JOIN LATERAL (SELECT coalesce(r.error_class = 'bot_unauthorized' AND r.outcome = 'retry', false)
                                        AS excused) x);

    -- Apart, and only where it matters: attempt is partitioned, and a plan that names it opens every day.
    IF EXISTS (SELECT FROM unnest(v_results) r WHERE NOT r.owned OR r.attempt > 1 AND r.outcome <> 'sent') THEN
        RETURN outbox.recall_attempts(p_worker, v_results);
    END IF;
    RETURN v_results;
END $$;
COMMENT ON FUNCTION outbox.judge_results IS 'Decides what each result means for its message. Part of complete.';
