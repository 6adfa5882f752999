-- Promise: how many messages of its own chat go before this one, at most p_most; claim's order within a lane (I2).
-- Locks: nothing.  Cost: index entries up to the answer, at most p_most.
CREATE OR REPLACE FUNCTION outbox.count_ahead_in_lane(m outbox.message, p_now timestamptz, p_most int) RETURNS int
LANGUAGE sql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT count(*)::int
      FROM (SELECT FROM generate_series(0, (m).priority) p (priority)
             CROSS JOIN LATERAL (
                    SELECT FROM outbox.message x
                     WHERE x.chat_id = (m).chat_id AND x.bot = (m).bot AND x.priority = p.priority::smallint
                       -- A better one goes first if it is due by then; of the same priority, the earlier one.
                       AND (x.next_attempt_at, x.id) < (
                               CASE WHEN p.priority < (m).priority THEN greatest((m).next_attempt_at, p_now)
                                    ELSE (m).next_attempt_at END,
                               CASE WHEN p.priority < (m).priority THEN 9223372036854775807 ELSE (m).id END)
                     LIMIT p_most) x
             LIMIT p_most) y
$$;
COMMENT ON FUNCTION outbox.count_ahead_in_lane IS 'How many messages of a chat go before this one. Part of explain.';

-- Promise: how many other chats have their turn before this one, whose head has this priority and is due since
-- p_due_at: those with a due wakeup of a better priority (better), or an earlier one of the same (same).
-- Locks: nothing.  Cost: at most p_most index entries per priority.
CREATE OR REPLACE FUNCTION outbox.count_ahead_of_lane(
    p_bot text, p_chat_id text, p_priority smallint, p_due_at timestamptz, p_now timestamptz, p_most int,
    OUT better int, OUT same int)
LANGUAGE sql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    WITH due AS MATERIALIZED (
        SELECT w.*
          FROM generate_series(0, p_priority) p (priority)
         CROSS JOIN LATERAL (
                -- Those of one time in the order of the index, which is the order they are taken in.
                SELECT x.chat_id, x.priority, x.due_at, row_number() OVER (ORDER BY x.due_at) AS place
                  FROM outbox.wakeup x
                 -- A parameter takes the collation of its fellows: that of chat_id would make the index useless.
                 WHERE x.bot = p_bot COLLATE "default" AND x.priority = p.priority::smallint AND x.due_at <= p_now
                 ORDER BY x.due_at LIMIT p_most) w),
    own AS (SELECT min(d.place) AS place FROM due d WHERE d.chat_id = p_chat_id AND d.priority = p_priority)
    SELECT count(DISTINCT d.chat_id) FILTER (WHERE d.priority < p_priority),
           count(DISTINCT d.chat_id) FILTER (WHERE d.priority = p_priority
                                               AND (d.place < own.place OR own.place IS NULL AND d.due_at <= p_due_at))
      FROM due d CROSS JOIN own
     WHERE d.chat_id <> p_chat_id
$$;
COMMENT ON FUNCTION outbox.count_ahead_of_lane IS 'How many chats have their turn before this one. Part of explain.';
