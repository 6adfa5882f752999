-- Promise: messages of these lanes whose cancel was asked for end as cancelled, at most 100 per lane and p_most in all;
-- requests for what has ended are dropped, those for what has moved to another chat follow it. Returns how many ended.
-- Locks: nothing; the caller holds the lanes, and none of them is in flight.
-- Cost: a probe per lane and request, and the rows it ends.
CREATE OR REPLACE FUNCTION outbox.cancel_requested(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    WITH asked AS (
        DELETE FROM outbox.request q
         WHERE q.ctid = ANY (ARRAY(
            SELECT k.ctid
              FROM unnest(p_chat_ids) l
             CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.request k
                                  WHERE k.chat_id = l AND k.bot = p_bot LIMIT 100 FOR UPDATE SKIP LOCKED) k
             LIMIT p_most))
        RETURNING q.*),
    found AS (
        SELECT DISTINCT ON (m.id) a.chat_id AS asked_in, a.requested_by, a.requested_at, m.id, m.chat_id, m.priority,
               m.attempts, m.calls
          FROM asked a
         CROSS JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = a.message_id AND m.bot = p_bot LIMIT 1) m
         ORDER BY m.id, a.requested_at),
    followed AS (
        INSERT INTO outbox.request (chat_id, bot, message_id, requested_by, requested_at)
        SELECT f.chat_id, p_bot, f.id, f.requested_by, f.requested_at FROM found f WHERE f.chat_id <> f.asked_in)
    SELECT coalesce(array_agg(ROW(f.id, 'cancelled', f.attempts, f.calls, NULL, 'cancelled',
                                  'asked for by ' || f.requested_by, NULL, NULL)::outbox.ending)
                        FILTER (WHERE f.chat_id = f.asked_in), '{}') AS endings,
           array_agg(f.chat_id::text) FILTER (WHERE f.chat_id <> f.asked_in) AS moved,
           array_agg(f.priority) FILTER (WHERE f.chat_id <> f.asked_in) AS priorities
      INTO r FROM found f;
    PERFORM outbox.finish_messages(r.endings);
    IF r.moved IS NOT NULL THEN
        PERFORM outbox.file_wakeups(p_bot, r.moved, r.priorities, array_fill(p_now, ARRAY[cardinality(r.moved)]));
    END IF;
    RETURN cardinality(r.endings);
END $$;
COMMENT ON FUNCTION outbox.cancel_requested IS 'Ends the messages of lanes whose cancel was asked for. Part of claim and complete.';
