-- Promise: messages of these lanes whose expires_at has passed end as expired, at most 100 per lane and p_most in all.
-- Locks: nothing; the caller holds the lanes.  Cost: the rows it ends, and a walk over at most 100 rows per lane.
CREATE OR REPLACE FUNCTION outbox.end_expired(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_endings outbox.ending[];
BEGIN
    v_endings := ARRAY(
        SELECT ROW(m.id, 'expired', m.attempts, m.calls, NULL, 'expired', m.last_error, NULL)::outbox.ending
          FROM unnest(p_chat_ids) l
         CROSS JOIN LATERAL (
            SELECT w.*
              FROM generate_series(0, 3) p (priority)
             CROSS JOIN LATERAL (SELECT m.id, m.attempts, m.calls, m.expires_at, m.last_error FROM outbox.message m
                                  WHERE m.chat_id = l AND m.bot = p_bot AND m.priority = p.priority::smallint
                                    AND m.next_attempt_at <= p_now
                                  ORDER BY m.next_attempt_at, m.id LIMIT 100) w
             LIMIT 100) m
         WHERE m.expires_at <= p_now
         LIMIT p_most);
    PERFORM outbox.finish_messages(v_endings);
    RETURN cardinality(v_endings);
END $$;
COMMENT ON FUNCTION outbox.end_expired IS 'Ends what nobody wants any more in lanes that the caller holds.';
