-- Promise: what nobody wants any more in these lanes ends, at most 100 messages per lane and p_most in all: as expired, or
-- as discarded because the chat is suppressed or a chat action could not go at once.
-- Locks: nothing; the caller holds the lanes.  Cost: the rows it ends, and a walk over at most 100 rows per lane.
CREATE OR REPLACE FUNCTION outbox.end_unwanted(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_endings outbox.ending[];
BEGIN
    v_endings := ARRAY(
        SELECT ROW(m.id, CASE WHEN m.expires_at <= p_now THEN 'expired' ELSE 'discarded' END, m.attempts, m.calls, NULL,
                   CASE WHEN m.expires_at <= p_now THEN 'expired' WHEN c.suppressed_until > p_now THEN 'chat_suppressed'
                        ELSE 'shed' END,
                   CASE WHEN c.suppressed_until > p_now THEN c.suppressed_reason ELSE m.last_error END,
                   NULL, NULL)::outbox.ending
          FROM unnest(p_chat_ids) l
         CROSS JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = l AND c.bot = p_bot LIMIT 1) c
         CROSS JOIN LATERAL (
            SELECT w.*
              FROM generate_series(0, 3) p (priority)
             CROSS JOIN LATERAL (SELECT m.id, m.priority, m.attempts, m.calls, m.expires_at, m.last_error, m.method,
                                        m.next_attempt_at
                                   FROM outbox.message m
                                  WHERE m.chat_id = l AND m.bot = p_bot AND m.priority = p.priority::smallint
                                    AND m.next_attempt_at <= p_now
                                  ORDER BY m.next_attempt_at, m.id LIMIT 100) w
             LIMIT 100) m
         WHERE outbox.is_unwanted(c, m.expires_at, m.method, m.next_attempt_at,
                                  outbox.head_waits_until(c, m.priority, m.method, m.calls + 1), p_now)
         LIMIT p_most);
    PERFORM outbox.finish_messages(v_endings);
    RETURN cardinality(v_endings);
END $$;
COMMENT ON FUNCTION outbox.end_unwanted IS 'Ends what nobody wants any more in lanes that the caller holds.';
