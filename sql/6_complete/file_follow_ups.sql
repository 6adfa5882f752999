-- Promise: a lane that its owner released and that holds anything due has one wakeup for its first due head, at the time it
-- may go (I1).
-- Locks: nothing, the caller holds the chats.  Cost: one probe per lane, a few more where something is left.
CREATE OR REPLACE FUNCTION outbox.file_follow_ups(p_results outbox.result[], p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox.file_wakeups(n.bot, array_agg(n.chat_id), array_agg(n.priority), array_agg(n.due_at))
       FROM (SELECT l.bot, l.chat_id, h.priority, h.due_at
               FROM (SELECT DISTINCT r.bot, r.chat_id FROM unnest(p_results) r WHERE r.owned) l
              CROSS JOIN LATERAL (SELECT FROM outbox.message m WHERE m.chat_id = l.chat_id AND m.bot = l.bot LIMIT 1) m
              CROSS JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = l.chat_id AND c.bot = l.bot LIMIT 1) c
              CROSS JOIN LATERAL (
                    SELECT h.priority,
                           greatest(outbox.head_waits_until(c, h.priority, h.method, h.attempt), p_now) AS due_at
                      FROM outbox.head_of_lane(l.chat_id, l.bot, p_now) h
                    UNION ALL
                    -- A wakeup that was dropped while the lane was in flight may be due only now, if the clock has
                    -- stepped back a little since. Further steps are repair's.
                    SELECT s.priority, greatest(outbox.lane_waits_until(c, s.priority), s.next_attempt_at)
                      FROM generate_series(0, 3) p (priority)
                     CROSS JOIN LATERAL (
                            SELECT m.priority, m.next_attempt_at FROM outbox.message m
                             WHERE m.chat_id = l.chat_id AND m.bot = l.bot AND m.priority = p.priority::smallint
                               AND m.next_attempt_at > p_now AND m.next_attempt_at <= p_now + interval '5 s'
                             ORDER BY m.next_attempt_at, m.id LIMIT 1) s) h) n
      GROUP BY n.bot;
END $$;
COMMENT ON FUNCTION outbox.file_follow_ups IS 'Files the wakeups of what is left in released lanes. Part of complete.';
