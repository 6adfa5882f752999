-- Promise: of the due messages of a lane with the collapse key and the target of its head, the newest (by id, the order of
-- writing) is the head now, in the place of the first one, and the others end as superseded, at most 100 per lane and call,
-- p_most in all: what is left is looked at again, and nothing of the key goes before. What has expired, or was cancelled
-- with its tag, ends so and takes no part. Returns how many ended.
-- Locks: nothing; the caller holds the lanes.  Cost: the rows it ends; one rewritten message per lane.
CREATE OR REPLACE FUNCTION outbox.supersede(p_bot text, p_heads bigint[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    h record;
    r record;
    v_ended int := 0;
BEGIN
    FOR h IN SELECT m.id, m.chat_id, m.collapse_key, m.target_id, m.priority, m.next_attempt_at
               FROM unnest(p_heads) u CROSS JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = u LIMIT 1) m
    LOOP
        EXIT WHEN v_ended >= p_most;
        WITH due AS (
            SELECT m.id, m.attempts, m.calls,
                   CASE WHEN m.expires_at <= p_now THEN 'expired'
                        WHEN outbox.is_stopped(m.tag, p_bot, m.id) THEN 'cancelled' END AS ends
              FROM outbox.message m
             WHERE m.chat_id = h.chat_id AND m.bot = p_bot AND m.collapse_key = h.collapse_key
               AND m.next_attempt_at <= p_now
               AND coalesce(m.target_id, 0) = coalesce(h.target_id, 0)
             ORDER BY m.next_attempt_at, m.id LIMIT least(101, p_most - v_ended + 1)),
        newest AS (SELECT max(d.id) FILTER (WHERE d.ends IS NULL) AS id FROM due d)
        SELECT n.id AS newest,
               coalesce(array_agg(ROW(d.id, coalesce(d.ends, 'superseded'), d.attempts, d.calls, NULL,
                                      coalesce(d.ends, 'superseded'),
                                      CASE WHEN d.ends IS NULL THEN format('message %s took its place', n.id)
                                           WHEN d.ends = 'cancelled' THEN 'its tag was cancelled' END,
                                      NULL, NULL)::outbox.ending)
                            FILTER (WHERE d.id IS DISTINCT FROM n.id), '{}') AS endings
          INTO r FROM due d CROSS JOIN newest n GROUP BY n.id;
        PERFORM outbox.finish_messages(r.endings);
        v_ended := v_ended + cardinality(r.endings);
        -- A microsecond before the one it replaces: the head was first, so nothing lies between, and those that were
        -- written in the same moment keep behind.
        UPDATE outbox.message m
           SET priority = h.priority,
               -- Time begins somewhere.
               next_attempt_at = greatest(h.next_attempt_at, '0001-01-01 00:00 UTC') - interval '1 microsecond'
         WHERE m.id = r.newest AND m.id <> h.id;
    END LOOP;
    RETURN v_ended;
END $$;
COMMENT ON FUNCTION outbox.supersede IS
    'Puts the newest due message of a collapse key in the oldest one''s place and ends the others. Part of claim.';
