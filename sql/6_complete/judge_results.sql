-- Promise: what each result means for its message: its fate. sent, dead, uncertain: it ends so. wait: it stays in its place,
-- an attempt spent or not. unsent: as if never claimed. resolve: it has ended, perhaps as a dead letter. record: too late.
-- repeated: this very result is in attempt already.
-- Locks: nothing, the caller holds the chats.  Cost: one probe of chat, message and bot per result; of attempt, in each of
-- its partitions, only for late results and for failures of later attempts.
CREATE OR REPLACE FUNCTION outbox.judge_results(p_worker bigint, p_results jsonb, p_now timestamptz)
RETURNS outbox.result[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
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
                   WHEN t.was_sent THEN 'sent'
                   WHEN r.outcome IN ('sent', 'dead', 'unsent') THEN r.outcome
                   WHEN r.outcome = 'wait' OR x.excused THEN 'wait'
                   WHEN r.outcome = 'uncertain' AND m.on_uncertain = 'hold' THEN 'uncertain'
                   WHEN m.attempts + 1 >= coalesce(m.max_attempts, o.max_attempts) THEN 'dead'
                   ELSE 'wait' END, t.repeated)::outbox.result
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
                                        AS excused) x
         CROSS JOIN LATERAL (
            SELECT -- An earlier attempt has turned out as sent while this one was under way: the truth is not thrown away.
                   CASE WHEN w.owned AND r.attempt > 1 AND r.outcome <> 'sent' THEN
                       EXISTS (SELECT FROM outbox.attempt a WHERE a.message_id = r.message_id AND a.outcome = 'sent')
                       OR p_results @> jsonb_build_array(jsonb_build_object('message_id', r.message_id, 'outcome', 'sent'))
                   ELSE false END AS was_sent,
                   -- Told before, and the answer to that was lost.
                   CASE WHEN NOT w.owned THEN
                       EXISTS (SELECT FROM outbox.attempt a
                                WHERE a.message_id = r.message_id AND a.attempt = r.attempt AND a.worker = p_worker
                                  AND a.outcome = r.outcome)
                   ELSE false END AS repeated) t);
END $$;
COMMENT ON FUNCTION outbox.judge_results IS 'Decides what each result means for its message. Part of complete.';
