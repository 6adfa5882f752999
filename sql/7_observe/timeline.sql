-- Promise: what happened to one message, in order of time: accepted, scheduled, each attempt, the wait after it, a retry by
-- an operator, a cancel that was asked for, sending just now, ended. Nothing for an unknown id. No payload.
-- Locks: nothing.  Cost: one index probe per kept day; the last 1,000 attempts; the last 10,000 rows of audit.
-- A retry leaves no trace but its conditions, in audit: told are those that name the message, and those whose conditions it
-- met after a failure that may have been its end. Of a batch only that it was started: it may have been stopped before it
-- came to the message.
-- A wait's waits_until: what Telegram asked for, or when it was really tried again; of the last one, when it will be.
CREATE OR REPLACE FUNCTION outbox.timeline(p_id bigint)
RETURNS TABLE (at timestamptz, what text, details text, worker text, duration_s float8, http_status int,
               waits_until timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off
SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH known AS MATERIALIZED (
        SELECT m.id, m.bot, m.chat_id, m.method, m.priority, m.tag, m.correlation_id, m.created_at,
               m.next_attempt_at AS scheduled_for, NULL::timestamptz AS ended_at, NULL AS status, NULL AS error_class,
               NULL AS error_text, NULL::bigint AS telegram_message_id, NULL::bigint AS worker,
               greatest(m.next_attempt_at, outbox.head_waits_until(c, m.priority, m.method, m.calls + 1)) AS next_at,
               c.in_flight = m.id AS is_sending, c.claimed_at, c.attempt, c.worker AS claimed_by
          FROM outbox.message m
          LEFT JOIN outbox.chat c ON c.chat_id = m.chat_id AND c.bot = m.bot
         WHERE m.id = p_id
        UNION ALL
        SELECT d.id, d.bot, d.chat_id, d.method, d.priority, d.tag, d.correlation_id, d.created_at, d.scheduled_for,
               d.died_at, d.status, d.error_class, d.error_text, NULL, d.worker, NULL, NULL, NULL, NULL, NULL
          FROM outbox.dead_letter d WHERE d.id = p_id
        UNION ALL
        SELECT f.id, f.bot, f.chat_id, f.method, f.priority, f.tag, f.correlation_id, f.created_at, f.scheduled_for,
               f.finished_at, f.status, f.error_class, f.error_text, f.telegram_message_id, f.worker, NULL, NULL, NULL,
               NULL, NULL
          FROM outbox.finished f WHERE f.id = p_id),
    tried AS MATERIALIZED (
        SELECT a.*, coalesce(a.started_at, a.answered_at) AS at,
               lead(coalesce(a.started_at, a.answered_at)) OVER (ORDER BY a.answered_at, a.attempt) AS next_at,
               count(*) FILTER (WHERE a.outcome <> 'wait') OVER (ORDER BY a.answered_at)
                   >= (SELECT o.max_attempts FROM outbox.bot o WHERE o.bot = a.bot) AS was_last
          FROM (SELECT a.* FROM outbox.attempt a
                 WHERE a.message_id = p_id ORDER BY a.answered_at DESC, a.attempt DESC LIMIT 1000) a),
    retried AS MATERIALIZED (
        SELECT a.at, a.who, a.filter ->> 'batch' AS batch
          FROM (SELECT * FROM known k LIMIT 1) k
         CROSS JOIN LATERAL (SELECT * FROM outbox.audit a ORDER BY a.id DESC LIMIT 10000) a
         -- A batch stands there twice: when it was started and, without a verb, when it ended.
         WHERE a.what = CASE WHEN a.filter ? 'batch' THEN 'start_batch' ELSE 'retry' END AND a.count > 0
           AND coalesce(a.filter ->> 'verb' = 'retry', true) AND a.at >= k.created_at AND coalesce(a.at < k.ended_at, true)
           AND CASE WHEN a.filter ? 'ids' THEN a.filter -> 'ids' @> to_jsonb(p_id)
                    ELSE coalesce(a.filter ->> 'bot' = k.bot, true)
                         AND (a.filter ->> 'tag' IS NULL OR a.filter ->> 'tag' = k.tag)
                         AND EXISTS (
                            SELECT FROM tried t
                             WHERE t.answered_at < a.at AND coalesce(t.next_at > a.at, true)
                               AND (t.outcome IN ('dead', 'uncertain') OR t.was_last)
                               AND CASE a.filter ->> 'status'
                                       WHEN 'uncertain' THEN t.outcome = 'uncertain'
                                       -- The last of one that was not held ends as dead, whatever it was.
                                       WHEN 'dead' THEN t.outcome <> 'uncertain' OR t.was_last ELSE true END
                               AND (a.filter ->> 'class' IS NULL OR a.filter ->> 'class' = t.error_class)
                               AND t.answered_at >= coalesce((a.filter ->> 'since')::timestamptz, '-infinity')
                               AND t.answered_at < coalesce((a.filter ->> 'until')::timestamptz, 'infinity')
                               AND (a.filter ->> 'text' IS NULL
                                    OR strpos(lower(t.error_text), lower(a.filter ->> 'text')) > 0)) END),
    story AS (
        SELECT k.created_at AS at, 1 AS place, 'accepted' AS what,
               concat_ws(', ', k.method || ' to chat ' || k.chat_id, 'bot ' || k.bot,
                         'priority ' || (ARRAY['critical', 'high', 'normal', 'low'])[k.priority + 1], 'tag ' || k.tag,
                         'correlation id ' || k.correlation_id) AS details,
               NULL::bigint AS worker, NULL::float8 AS duration_s, NULL::int AS http_status,
               NULL::timestamptz AS waits_until
          FROM (SELECT * FROM known k LIMIT 1) k
        UNION ALL
        SELECT k.created_at, 2, 'scheduled', 'not before its time', NULL, NULL, NULL, k.scheduled_for
          FROM (SELECT * FROM known k LIMIT 1) k WHERE k.scheduled_for > k.created_at + interval '1 s'
        UNION ALL
        SELECT t.at, 3, 'attempt',
               concat_ws(': ', format('%s: %s', t.attempt, t.outcome)
                                   || CASE WHEN t.late THEN ', too late: its worker had lost the chat' ELSE '' END,
                         t.error_class, t.error_text),
               t.worker, extract(epoch FROM t.answered_at - t.started_at)::float8, t.http_status, NULL
          FROM tried t
        UNION ALL
        SELECT t.answered_at, 4, 'wait',
               CASE WHEN t.retry_after_s IS NOT NULL
                    THEN format('429: Telegram told the chat to wait %s s', t.retry_after_s)
                    WHEN t.outcome = 'wait' THEN '429 that does not say for how long: backoff' ELSE 'backoff' END,
               NULL, NULL, NULL,
               CASE WHEN t.retry_after_s IS NOT NULL THEN t.answered_at + make_interval(secs => t.retry_after_s)
                    ELSE coalesce(t.next_at, (SELECT k.next_at FROM known k LIMIT 1)) END
          FROM tried t
         WHERE t.outcome IN ('wait', 'retry', 'uncertain')
           AND NOT EXISTS (SELECT FROM retried r WHERE r.at > t.answered_at AND coalesce(r.at < t.next_at, true))
           AND (t.next_at IS NOT NULL OR EXISTS (SELECT FROM known k WHERE k.status IS NULL AND NOT coalesce(k.is_sending, false)))
        UNION ALL
        SELECT r.at, 5, 'retried',
               CASE WHEN r.batch IS NULL THEN format('a dead letter was put back into its lane by %s', r.who)
                    ELSE format('batch %s (retry) was started by %s', r.batch, r.who) END, NULL, NULL, NULL, NULL
          FROM retried r
        UNION ALL
        SELECT q.requested_at, 5, 'cancel asked for', 'by ' || q.requested_by, NULL, NULL, NULL, NULL
          FROM outbox.request q WHERE q.message_id = p_id
        UNION ALL
        SELECT s.requested_at, 5, 'cancel asked for', format('of tag %s, by %s', s.tag, s.requested_by), NULL, NULL, NULL,
               NULL
          FROM (SELECT * FROM known k LIMIT 1) k
          JOIN outbox.stop s ON s.tag = k.tag AND s.up_to_id >= k.id AND coalesce(s.bot = k.bot, true)
                            AND coalesce(s.requested_at <= k.ended_at, true)
        UNION ALL
        SELECT k.claimed_at, 6, 'sending', format('attempt %s is in flight', k.attempt), k.claimed_by, NULL, NULL, NULL
          FROM known k WHERE k.is_sending
        UNION ALL
        SELECT k.ended_at, 7, 'ended',
               concat_ws(': ', k.status || coalesce(' as Telegram''s message ' || k.telegram_message_id, ''),
                         k.error_class, k.error_text)
                   || CASE WHEN k.status IN ('dead', 'uncertain') THEN '; a dead letter: retry or discard it' ELSE '' END,
               k.worker, NULL, NULL, NULL
          FROM known k WHERE k.status IS NOT NULL)
    SELECT s.at, s.what, s.details, coalesce(w.name || ' (' || w.id || ')', s.worker::text), s.duration_s, s.http_status,
           s.waits_until
      FROM story s
      LEFT JOIN LATERAL (SELECT w.id, w.name FROM outbox.worker w WHERE w.id = s.worker LIMIT 1) w ON true
     ORDER BY s.at, s.place;
END $$;
COMMENT ON FUNCTION outbox.timeline IS
    'What happened to one message in order of time: what is accepted, scheduled, attempt (number, outcome, class, text), wait (until waits_until), retried (by an operator; of a batch, that it was started), cancel asked for, sending or ended. The last 1,000 attempts. No payload.';
