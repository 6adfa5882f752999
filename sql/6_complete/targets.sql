-- Promise: what stands before its target in these lanes, which has not gone, goes behind it: same priority or worse, no
-- earlier; its id is the larger one. Of the first 100 of each lane, p_most in all. Returns how many.
-- Locks: nothing; the caller holds the lanes.  Cost: one update each; only where a better priority overtook its target, or
-- the target was put off.
CREATE OR REPLACE FUNCTION outbox.go_behind_targets(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int)
RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_moved int := 0;
BEGIN
    FOR r IN
        SELECT m.id, m.target_id, m.chat_id
          FROM unnest(p_chat_ids) l
         CROSS JOIN LATERAL (SELECT f.* FROM outbox.first_due(l, p_bot, p_now) f WHERE f.target_id IS NOT NULL OFFSET 0) m
         -- Targets before their followers: where one has gone to is known then.
         ORDER BY m.id
    LOOP
        UPDATE outbox.message m
           SET priority = greatest(m.priority, t.priority), next_attempt_at = greatest(m.next_attempt_at, t.next_attempt_at)
          FROM outbox.message t
         WHERE m.id = r.id AND t.id = r.target_id AND t.chat_id = r.chat_id AND t.bot = p_bot
           AND (t.next_attempt_at > p_now OR (m.priority, m.next_attempt_at) < (t.priority, t.next_attempt_at));
        v_moved := v_moved + FOUND::int;
        EXIT WHEN v_moved >= p_most;
    END LOOP;
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION outbox.go_behind_targets IS 'Puts messages behind those that they edit or answer. Part of claim.';

-- Promise: heads whose targets will not go, and what follows the same targets among the first 100 of their lanes, end with a
-- class that says so, p_most in all: as dead letters where a person may still mend it (target_died, target_missing), as
-- discarded where the target ended on purpose (target_not_sent). Returns how many.
-- Locks: nothing; the caller holds the lanes.  Cost: one find_target per lane, one ending each.
CREATE OR REPLACE FUNCTION outbox.end_followers(p_bot text, p_heads bigint[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_endings outbox.ending[];
BEGIN
    v_endings := ARRAY(
        SELECT ROW(m.id, CASE t.state WHEN 'not_sent' THEN 'discarded' ELSE 'dead' END, m.attempts, m.calls, NULL,
                   'target_' || t.state,
                   CASE t.state WHEN 'died' THEN format('its target %s is a dead letter', m.target_id)
                                WHEN 'not_sent' THEN format('its target %s ended unsent', m.target_id)
                                ELSE format('no message of this chat with an id of Telegram''s is known as %s', m.target_id)
                   END, NULL, NULL)::outbox.ending
          FROM unnest(p_heads) u
         CROSS JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = u LIMIT 1) h
         CROSS JOIN LATERAL (SELECT * FROM outbox.find_target(h.target_id, h.bot, h.chat_id) OFFSET 0) t
         CROSS JOIN LATERAL outbox.first_due(h.chat_id, p_bot, p_now) m
         WHERE t.state NOT IN ('sent', 'waits') AND m.target_id = h.target_id
         LIMIT p_most);
    PERFORM outbox.finish_messages(v_endings);
    RETURN cardinality(v_endings);
END $$;
COMMENT ON FUNCTION outbox.end_followers IS 'Ends messages whose targets will not be sent. Part of claim.';
