-- Promise: what nobody wants any more in these lanes ends, at most 100 messages per lane and p_most in all: as expired, as
-- cancelled with its tag, or as discarded because the chat is suppressed or a chat action could not go at once.
-- Locks: nothing; the caller holds the lanes.  Cost: the rows it ends, and a walk over at most 100 rows per lane.
CREATE OR REPLACE FUNCTION outbox.end_unwanted(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_endings outbox.ending[];
BEGIN
    v_endings := ARRAY(
        SELECT ROW(m.id, CASE WHEN m.expires_at <= p_now THEN 'expired' WHEN s.is_stopped OR s.is_asked THEN 'cancelled'
                              ELSE 'discarded' END, m.attempts, m.calls, NULL,
                   CASE WHEN m.expires_at <= p_now THEN 'expired' WHEN s.is_stopped OR s.is_asked THEN 'cancelled'
                        WHEN c.suppressed_until > p_now THEN 'chat_suppressed' ELSE 'shed' END,
                   CASE WHEN s.is_stopped THEN 'its tag was cancelled' WHEN s.is_asked THEN 'a cancel was asked for'
                        WHEN c.suppressed_until > p_now THEN c.suppressed_reason ELSE m.last_error END,
                   NULL, NULL)::outbox.ending
          FROM unnest(p_chat_ids) l
         CROSS JOIN LATERAL (SELECT * FROM outbox.chat c WHERE c.chat_id = l AND c.bot = p_bot LIMIT 1) c
         CROSS JOIN LATERAL outbox.first_due(l, p_bot, p_now) m
         CROSS JOIN LATERAL (
            SELECT outbox.is_stopped(m.tag, p_bot, m.id) AS is_stopped,
                   (SELECT true FROM outbox.request q WHERE q.message_id = m.id LIMIT 1) IS NOT NULL AS is_asked OFFSET 0) s
         WHERE s.is_stopped OR s.is_asked
            OR outbox.is_unwanted(c, m.expires_at, m.method, m.next_attempt_at,
                                  outbox.head_waits_until(c, m.priority, m.method, m.calls + 1), p_now)
         LIMIT p_most);
    PERFORM outbox.finish_messages(v_endings);
    RETURN cardinality(v_endings);
END $$;
COMMENT ON FUNCTION outbox.end_unwanted IS 'Ends what nobody wants any more in lanes that the caller holds.';
