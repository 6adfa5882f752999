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

-- Promise: among the first 100 of these lanes, those whose targets will not go end with a class that says so, p_most in all:
-- as dead letters where a person may still mend it (target_died, target_missing), as discarded where the target ended on
-- purpose (target_not_sent). Returns how many.
-- Locks: nothing; the caller holds the lanes.  Cost: one find_target per target, one ending each.
CREATE OR REPLACE FUNCTION outbox.end_followers(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_endings outbox.ending[];
BEGIN
    v_endings := ARRAY(
        WITH follower AS MATERIALIZED (
            -- The chat from the array and not from a row: else statistics lead to a sort of the whole lane.
            SELECT l AS chat_id, m.id, m.target_id, m.attempts, m.calls
              FROM unnest(p_chat_ids) l
             CROSS JOIN LATERAL outbox.first_due(l, p_bot, p_now) m
             WHERE m.target_id IS NOT NULL),
        gone AS MATERIALIZED (
            SELECT d.chat_id, d.target_id, t.state
              FROM (SELECT DISTINCT f.chat_id, f.target_id FROM follower f) d
             CROSS JOIN LATERAL outbox.find_target(d.target_id, p_bot, d.chat_id) t
             WHERE t.state NOT IN ('sent', 'waits'))
        SELECT ROW(f.id, CASE g.state WHEN 'not_sent' THEN 'discarded' ELSE 'dead' END, f.attempts, f.calls, NULL,
                   'target_' || g.state,
                   CASE g.state WHEN 'died' THEN format('its target %s is a dead letter', f.target_id)
                                WHEN 'not_sent' THEN format('its target %s ended unsent', f.target_id)
                                ELSE format('no message of this chat with an id of Telegram''s is known as %s', f.target_id)
                   END, NULL, NULL)::outbox.ending
          FROM follower f
          JOIN gone g ON g.chat_id = f.chat_id AND g.target_id = f.target_id
         LIMIT p_most);
    PERFORM outbox.finish_messages(v_endings);
    RETURN cardinality(v_endings);
END $$;
COMMENT ON FUNCTION outbox.end_followers IS 'Ends messages whose targets will not be sent. Part of claim.';
