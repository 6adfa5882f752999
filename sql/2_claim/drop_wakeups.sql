-- Promise: a chat that is being forgotten has no wakeups, but for one that a claim holds just now and files again.
-- Locks: the wakeups, SKIP LOCKED.  Cost: one walk over the bot's wakeups.
CREATE OR REPLACE FUNCTION outbox.drop_wakeups(p_bot text, p_chat_id text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    DELETE FROM outbox.wakeup w WHERE w.ctid = ANY (ARRAY(
        SELECT w.ctid FROM outbox.wakeup w WHERE w.bot = p_bot AND w.chat_id = p_chat_id FOR UPDATE SKIP LOCKED))
$$;
COMMENT ON FUNCTION outbox.drop_wakeups IS
    'Drops a chat''s wakeups; the caller ends its messages next. Part of forget.';
