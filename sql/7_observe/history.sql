-- Promise: one row per message ever accepted within retention, live or ended, in exactly one status (I8). No payload.
-- Cost: by id, an index probe in each of three tables.
CREATE OR REPLACE VIEW outbox.history AS
SELECT m.id, m.bot, m.chat_id, m.method, m.priority,
       CASE WHEN c.in_flight = m.id THEN 'sending' ELSE 'queued' END AS status,
       m.tag, m.correlation_id, m.created_at, m.next_attempt_at AS scheduled_for,
       greatest(m.next_attempt_at, outbox.head_waits_until(c, m.priority, m.method, m.calls + 1)) AS next_attempt_at,
       NULL::timestamptz AS finished_at, m.attempts, NULL::bigint AS telegram_message_id, NULL::text AS error_class,
       m.last_error AS error_text
  FROM outbox.message m
  LEFT JOIN outbox.chat c ON c.chat_id = m.chat_id AND c.bot = m.bot
UNION ALL
SELECT d.id, d.bot, d.chat_id, d.method, d.priority, d.status, d.tag, d.correlation_id, d.created_at, d.scheduled_for,
       NULL, d.died_at, d.attempts, NULL, d.error_class, d.error_text
  FROM outbox.dead_letter d
UNION ALL
SELECT f.id, f.bot, f.chat_id, f.method, f.priority, f.status, f.tag, f.correlation_id, f.created_at, f.scheduled_for,
       NULL, f.finished_at, f.attempts, f.telegram_message_id, f.error_class, f.error_text
  FROM outbox.finished f;
COMMENT ON VIEW outbox.history IS
    'One row per accepted message. status: queued, sending, sent, dead, uncertain, expired, cancelled, superseded or discarded. scheduled_for: what the writer asked; next_attempt_at: when it will really be tried next.';
