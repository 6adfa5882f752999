-- Promise: what each result means for its message: its fate. sent, dead, uncertain, discarded: it ends so. wait: it stays
-- in its place, an attempt spent or not. unsent: as if never claimed. resolve: it has ended, perhaps as a dead letter.
-- record: too late.
-- Nothing is spent by what is not the message's fault (excused): a 429, a refused bot token, a chat that has moved, a
-- refused paid broadcast, and a chat's refusal while the brake holds.
-- A chat's refusal is believed when it says "blocked", "deactivated" or "kicked", or when it is the second in a row:
-- Telegram had incidents in which it refused everybody (TELEGRAM.md section 4). Until then the message waits 5 s.
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
                   r.http_status, r.error_code,
                   CASE WHEN r.outcome = 'discard' THEN coalesce(r.error_class, 'not_allowed') ELSE r.error_class END,
                   left(r.error_text, 500), r.retry_after_s,
                   r.telegram_message_id, w.owned, m.priority,
                   -- A late "sent" belongs to an attempt that the reaper has counted.
                   CASE WHEN w.owned THEN m.attempts + (r.outcome NOT IN ('wait', 'unsent', 'discard') AND NOT x.excused)::int
                        ELSE greatest(m.attempts, 1) END,
                   CASE
                   WHEN m.id IS NULL THEN CASE WHEN r.outcome = 'sent' THEN 'resolve' ELSE 'record' END
                   -- If another worker is sending it just now, the two are a duplicate that nothing undoes.
                   WHEN NOT w.owned THEN
                       CASE WHEN r.outcome = 'sent' AND c.in_flight IS DISTINCT FROM m.id
                                 -- After a recovery to a point in time another message may bear the number.
                                 AND coalesce(m.correlation_id = r.correlation_id, true) THEN 'sent' ELSE 'record' END
                   WHEN r.outcome IN ('sent', 'unsent') THEN r.outcome
                   WHEN r.outcome = 'discard' THEN 'discarded'
                   -- Shown late it would be wrong.
                   WHEN lower(m.method) = 'sendchataction' THEN 'discarded'
                   WHEN r.outcome = 'wait' OR x.excused THEN 'wait'
                   WHEN r.outcome = 'dead' AND NOT (x.doubted AND NOT x.is_proven) THEN 'dead'
                   WHEN r.outcome = 'uncertain' AND m.on_uncertain = 'hold' THEN 'uncertain'
                   WHEN m.attempts + 1 >= coalesce(m.max_attempts, o.max_attempts) THEN 'dead'
                   ELSE 'wait' END, false,
                   r.meaning, r.reach, CASE WHEN x.has_moved THEN r.migrate_to END,
                   CASE WHEN jsonb_typeof(r.telegram_answer) = 'object' THEN r.telegram_answer END,
                   coalesce(m.correlation_id, r.correlation_id), m.tag,
                   CASE WHEN m.id IS NULL THEN 1 ELSE outbox.message_cost(m.method, m.payload) END,
                   CASE WHEN x.doubted THEN x.is_proven END,
                   -- While the brake holds others must be tried than those that were refused already.
                   CASE WHEN x.braked THEN least(300, 10 * 2.0 ^ least(r.attempt - 1, 30))
                        WHEN x.doubted AND NOT x.is_proven THEN 5 END)::outbox.result
          FROM (-- One result per attempt, the truth before a doubt.
                SELECT DISTINCT ON (x.message_id, x.attempt) x.*
                  FROM jsonb_to_recordset(p_results) x (
                           bot text, chat_id text, message_id bigint, attempt int, outcome text, age_s float8,
                           duration_s float8, http_status int, error_code int, error_class text, error_text text,
                           retry_after_s float8, telegram_message_id bigint, meaning text, reach text, migrate_to text,
                           telegram_answer jsonb, correlation_id text)
                 ORDER BY x.message_id, x.attempt, x.outcome <> 'sent', x.age_s DESC) r
          LEFT JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = r.chat_id AND c.bot = r.bot LIMIT 1) c ON true
          LEFT JOIN LATERAL (SELECT * FROM outbox.message m
                              WHERE m.id = r.message_id AND m.chat_id = r.chat_id AND m.bot = r.bot LIMIT 1) m ON true
          LEFT JOIN LATERAL (SELECT * FROM outbox.bot o WHERE o.bot = r.bot LIMIT 1) o ON true
         CROSS JOIN LATERAL (SELECT coalesce(c.in_flight = r.message_id AND c.worker = p_worker
                                             AND c.attempt = r.attempt, false) AS owned) w
         CROSS JOIN LATERAL (
            SELECT y.excused OR y.braked AS excused, y.braked, y.has_moved, y.doubted AND w.owned AND NOT y.braked AS doubted,
                   y.doubted AND c.suppression_evidence + 1 >= y.needed AS is_proven
              FROM (SELECT r.outcome IN ('retry', 'dead')
                           AND (-- A bot token that is refused is not the message's fault.
                                coalesce(r.error_class = 'bot_unauthorized' AND r.outcome = 'retry', false) OR n.has_moved
                                OR coalesce(r.error_class = 'paid_broadcast_refused', false)
                                   -- Claimed after that was known, it went without the flag.
                                   AND coalesce(o.paid_broadcast_refused_at >= c.claimed_at, true)
                                   AND m.payload ? 'allow_paid_broadcast')
                               AS excused, n.has_moved, n.doubted,
                           CASE WHEN r.error_class IN ('blocked', 'deactivated', 'kicked') THEN 1 ELSE 2 END AS needed,
                           -- No incident lasts for fifty calls, four hours; and some chats are really gone.
                           CASE WHEN n.doubted AND r.error_class NOT IN ('blocked', 'deactivated', 'kicked')
                                     AND r.attempt <= 50 THEN
                                coalesce((SELECT k.breaker <> 'closed' AND k.breaker_reason = 'refusals'
                                            FROM outbox.bucket k WHERE k.bot = r.bot), false)
                                ELSE false END AS braked
                      FROM (SELECT coalesce(r.meaning = 'migrated' AND r.migrate_to ~ '^-?[1-9][0-9]{0,18}$'
                                            AND r.migrate_to <> r.chat_id, false) AS has_moved,
                                   coalesce(r.outcome = 'dead' AND r.reach = 'chat', false)
                                       -- A reply across chats may be refused for the other one's sake.
                                       AND NOT coalesce(m.payload ->> 'reply_parameters' ~ 'chat_id', false)
                                       AS doubted) n) y
            OFFSET 0) x);

    -- Apart, and only where it matters: attempt is partitioned, and a plan that names it opens every day.
    IF EXISTS (SELECT FROM unnest(v_results) r WHERE NOT r.owned OR r.attempt > 1 AND r.outcome <> 'sent') THEN
        RETURN outbox.recall_attempts(p_worker, v_results);
    END IF;
    RETURN v_results;
END $$;
COMMENT ON FUNCTION outbox.judge_results IS 'Decides what each result means for its message. Part of complete.';
