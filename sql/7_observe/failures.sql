-- Promise: the calls of the Bot API that failed, 429s included, by bot, error class, outcome, chat, tag and hour (UTC).
-- Cost: reads outbox.attempt as far back as it is kept; for people, never for gauges.
CREATE OR REPLACE VIEW outbox.failures AS
SELECT a.bot, coalesce(a.error_class, a.outcome) AS error_class, a.outcome, a.chat_id, a.tag,
       date_trunc('hour', a.answered_at, 'UTC') AS hour,
       count(*) AS calls, count(DISTINCT a.message_id) AS messages,
       count(DISTINCT a.message_id) FILTER (WHERE d.id IS NOT NULL) AS dead,
       max(a.answered_at) AS last_at, (array_agg(a.error_text ORDER BY a.answered_at DESC))[1] AS last_text
  FROM outbox.attempt a
  LEFT JOIN outbox.dead_letter d ON d.id = a.message_id
 WHERE a.outcome <> 'sent'
 GROUP BY a.bot, coalesce(a.error_class, a.outcome), a.outcome, a.chat_id, a.tag,
          date_trunc('hour', a.answered_at, 'UTC');
COMMENT ON VIEW outbox.failures IS
    'Failed calls by bot, error_class, outcome (wait: 429, retry, uncertain, dead), chat_id, tag and hour. calls: how many; messages: of how many messages; dead: how many of those are dead letters now; last_text: what the last one said.';
