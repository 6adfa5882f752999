-- Promise: the message that a lane sends next: the first due one of its best priority, and no later one (I2).
-- Locks: nothing; look after you lock (I3).  Cost: at most four index probes, whatever waits in the lane.
CREATE OR REPLACE FUNCTION outbox.head_of_lane(
    p_chat_id text, p_bot text, p_now timestamptz,
    OUT id bigint, OUT priority smallint, OUT next_attempt_at timestamptz, OUT expires_at timestamptz,
    OUT attempt int, OUT bytes int, OUT cost int, OUT method text, OUT tag text, OUT collapse_key text,
    OUT target_id bigint) RETURNS SETOF record
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT h.id, h.priority, h.next_attempt_at, h.expires_at, h.calls + 1,
           octet_length(h.payload::text), outbox.message_cost(h.method, h.payload), h.method,
           h.tag, h.collapse_key, h.target_id
      FROM generate_series(0, 3) p (priority)
     CROSS JOIN LATERAL (
            SELECT * FROM outbox.message m
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

-- Promise: when this head may go. Answering a button takes no place in any limit, so it waits for nothing but its own retry.
-- Locks: nothing.  Cost: arithmetic on a row in hand.
CREATE OR REPLACE FUNCTION outbox.head_waits_until(
    c outbox.chat, p_priority smallint, p_method text, p_attempt int) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_attempt = 1 AND lower(p_method) = 'answercallbackquery' THEN NULL
                ELSE outbox.lane_waits_until(c, p_priority) END
$$;
COMMENT ON FUNCTION outbox.head_waits_until IS 'When the head of a lane may go; free methods do not wait for the limits.';

-- Promise: when a group has room for a call that counts as p_cost messages; NULL: now, or the chat is no group.
-- Locks: nothing.  Cost: a row of bot; asked for albums and multi-copies only.
CREATE OR REPLACE FUNCTION outbox.group_waits_until(c outbox.chat, p_cost int) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT c.group_sent_at[cardinality(c.group_sent_at) - o.group_limit + least(p_cost, o.group_limit)]
               + make_interval(secs => o.group_window_s)
      FROM outbox.bot o
     WHERE o.bot = c.bot AND c.chat_id ~ '^[-@]'
$$;
COMMENT ON FUNCTION outbox.group_waits_until IS 'When a group''s limit has room for an album or a multi-copy.';

-- Promise: whether nobody wants this head any more: it expired, its chat is suppressed, or it is a chat action ("typing")
-- that cannot go now: shown late it is wrong, so it is shed rather than queued.
-- Locks: nothing.  Cost: arithmetic on a row in hand.
CREATE OR REPLACE FUNCTION outbox.is_unwanted(
    c outbox.chat, p_expires_at timestamptz, p_method text, p_next_attempt_at timestamptz, p_waits_until timestamptz,
    p_now timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(p_expires_at <= p_now, false) OR coalesce(c.suppressed_until > p_now, false)
        OR lower(p_method) = 'sendchataction'
           -- 2 s: in the time of a full horizon for each priority it could have gone.
           AND (coalesce(p_waits_until > p_now, false) OR p_next_attempt_at < p_now - interval '2 s')
$$;
COMMENT ON FUNCTION outbox.is_unwanted IS 'Whether a head of a lane is to end unsent: expired, suppressed or shed.';

-- Promise: the messages that a lane sends next, in order, at most 100.
-- Locks: nothing.  Cost: at most 100 rows.
CREATE OR REPLACE FUNCTION outbox.first_due(p_chat_id text, p_bot text, p_now timestamptz) RETURNS SETOF outbox.message
LANGUAGE sql STABLE ROWS 100 AS $$
    SELECT w.*
      FROM generate_series(0, 3) p (priority)
     CROSS JOIN LATERAL (SELECT * FROM outbox.message m
                          WHERE m.chat_id = p_chat_id AND m.bot = p_bot AND m.priority = p.priority::smallint
                            AND m.next_attempt_at <= p_now
                          ORDER BY m.next_attempt_at, m.id LIMIT 100) w
     LIMIT 100
$$;
COMMENT ON FUNCTION outbox.first_due IS 'The first 100 due messages of a chat. Part of claim.';
