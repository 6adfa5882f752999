-- Promise: whether a cancel was asked for that covers this message: by id, by correlation id or by its tag.
-- Locks: nothing.  Cost: two probes.
CREATE OR REPLACE FUNCTION outbox.is_cancelled(m outbox.message) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT outbox.is_stopped((m).tag, (m).bot, (m).id)
        OR EXISTS (SELECT FROM outbox.request q WHERE q.message_id = (m).id)
$$;
COMMENT ON FUNCTION outbox.is_cancelled IS 'Whether a cancel was asked for that covers a message. Part of explain and status.';

-- Promise: what other wishes of its writer mean for a message that waits: a cancel, a newer one with its collapse key, the
-- message that it edits or answers. ends: it will end unsent.
-- Locks: nothing.  Cost: a few index probes.
CREATE OR REPLACE FUNCTION outbox.explain_wishes(
    m outbox.message, p_now timestamptz, OUT reasons text[], OUT ends boolean)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_newest bigint;
    v_target text;
BEGIN
    reasons := '{}';
    ends := outbox.is_cancelled(m);
    IF ends THEN
        reasons := reasons || 'a cancel was asked for: ends unsent when its chat is looked at'::text;
    END IF;
    IF m.collapse_key IS NOT NULL THEN
        v_newest := (SELECT max(x.id) FROM outbox.message x
                      WHERE x.chat_id = m.chat_id AND x.bot = m.bot AND x.collapse_key = m.collapse_key
                        AND coalesce(x.target_id, 0) = coalesce(m.target_id, 0)
                        AND x.next_attempt_at <= p_now AND NOT outbox.is_cancelled(x));
        IF v_newest > m.id THEN
            reasons := reasons || format('message %s with its collapse key is newer and takes its place', v_newest);
            ends := true;
        END IF;
    END IF;
    IF m.target_id IS NOT NULL THEN
        v_target := (SELECT t.state FROM outbox.find_target(m.target_id, m.bot, m.chat_id) t);
        IF v_target <> 'sent' THEN
            reasons := reasons || CASE v_target
                WHEN 'waits' THEN format('it goes after its target, message %s', m.target_id)
                WHEN 'died' THEN format('its target, message %s, is a dead letter: it will be one too', m.target_id)
                WHEN 'not_sent' THEN format('its target, message %s, ended unsent: so will it', m.target_id)
                ELSE format('its target, message %s, is not known as sent to its chat: it will die', m.target_id) END;
            ends := ends OR v_target <> 'waits';
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.explain_wishes IS 'What a cancel, a collapse key or a target means for a waiting message. Part of explain.';
