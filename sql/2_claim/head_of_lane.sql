-- Promise: the message that a lane sends next: the first due one of its best priority, and no later one (I2).
-- Locks: nothing; look after you lock (I3).  Cost: at most four index probes, whatever waits in the lane.
CREATE OR REPLACE FUNCTION outbox.head_of_lane(
    p_chat_id text, p_bot text, p_now timestamptz,
    OUT id bigint, OUT priority smallint, OUT next_attempt_at timestamptz, OUT expires_at timestamptz,
    OUT attempt int, OUT bytes int) RETURNS SETOF record
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT h.id, h.priority, h.next_attempt_at, h.expires_at, h.calls + 1,
           octet_length(h.payload::text)
      FROM generate_series(0, 3) p (priority)
     CROSS JOIN LATERAL (
            SELECT m.id, m.priority, m.next_attempt_at, m.expires_at, m.calls, m.payload FROM outbox.message m
             WHERE m.chat_id = p_chat_id AND m.bot = p_bot AND m.priority = p.priority::smallint
               AND m.next_attempt_at <= p_now
             ORDER BY m.next_attempt_at, m.id LIMIT 1) h
     LIMIT 1
$$;
COMMENT ON FUNCTION outbox.head_of_lane IS 'The message a chat sends next: first due one of its best priority.';

-- Promise: until when a head of this priority waits: the latest backoff of its own and of better priorities (I2).
-- Locks: nothing.  Cost: arithmetic on a row in hand.
CREATE OR REPLACE FUNCTION outbox.lane_waits_until(c outbox.chat, p_priority smallint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(c.next_send_at, c.backoff_until[1],
                    CASE WHEN p_priority >= 1 THEN c.backoff_until[2] END,
                    CASE WHEN p_priority >= 2 THEN c.backoff_until[3] END,
                    CASE WHEN p_priority >= 3 THEN c.backoff_until[4] END)
$$;
COMMENT ON FUNCTION outbox.lane_waits_until IS
    'When a chat may send a message of this priority: its interval, 429s and backoffs. NULL: at once.';
