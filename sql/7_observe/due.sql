-- Promise: the rows ready to send, in order: what the queue is, whatever the machinery does. The property test's oracle
-- and the housekeeper's yardstick.
-- Cost: reads every waiting row; for people and housekeeping, never for claim.
CREATE OR REPLACE VIEW outbox.due AS
SELECT m.id, m.bot, m.chat_id, m.method, m.priority, m.next_attempt_at, m.created_at, m.attempts, m.correlation_id,
       m.tag
  FROM outbox.message m
  LEFT JOIN outbox.chat c ON c.chat_id = m.chat_id AND c.bot = m.bot
 WHERE m.next_attempt_at <= outbox.clock()
   AND (m.expires_at IS NULL OR m.expires_at > outbox.clock())
   AND c.in_flight IS NULL
   AND NOT EXISTS (SELECT FROM outbox.request q WHERE q.message_id = m.id)
   AND NOT EXISTS (SELECT FROM outbox.stop s WHERE s.tag = m.tag AND s.up_to_id >= m.id AND coalesce(s.bot = m.bot, true))
   AND coalesce(c.suppressed_until <= outbox.clock(), true)
   AND coalesce(outbox.head_waits_until(c, m.priority, m.method, m.calls + 1) <= outbox.clock(), true)
 ORDER BY m.priority, m.next_attempt_at, m.id;
COMMENT ON VIEW outbox.due IS
    'Messages ready to send now, in the order in which their chats send them: priority, next_attempt_at, id.';
