-- Promise: what waits in a chat goes on under its new id, in order, with wakeups there (I1); later messages for the old id
-- follow when their lane is looked at. Returns how many moved, at most p_most: the first ones of the lane, the rest follows.
-- Locks: nothing, the caller holds the old chat. Not the new one: rows come to it as they come from an application, and its
-- lane is looked at again for each wakeup.  Cost: one update per message that moves: 100,000 take about 3 s.
CREATE OR REPLACE FUNCTION outbox.move_pending(p_bot text, p_chat_id text, p_to text, p_now timestamptz, p_most int)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    WITH moved AS (
        UPDATE outbox.message m SET chat_id = p_to
         WHERE m.ctid = ANY (ARRAY(
            SELECT k.ctid FROM outbox.message k WHERE k.chat_id = p_chat_id AND k.bot = p_bot
             ORDER BY k.priority, k.next_attempt_at, k.id LIMIT p_most))
        RETURNING m.priority, m.next_attempt_at),
    lane AS (SELECT DISTINCT v.priority, greatest(v.next_attempt_at, p_now) AS due_at FROM moved v)
    SELECT array_agg(l.priority) AS priorities, array_agg(l.due_at) AS due_at, array_agg(p_to) AS chat_ids,
           (SELECT count(*) FROM moved) AS messages
      INTO r FROM lane l;
    IF r.messages > 0 THEN
        PERFORM outbox.file_wakeups(p_bot, r.chat_ids, r.priorities, r.due_at);
    END IF;
    RETURN r.messages;
END $$;
COMMENT ON FUNCTION outbox.move_pending IS 'Moves the waiting messages of a chat to its new id. Part of complete and claim.';

-- Promise: what waits in these lanes, whose chats have moved, follows them. Chats that moved in a circle are not followed:
-- their messages are sent as addressed, and Telegram decides.
-- Locks: nothing, the caller holds the lanes.  Cost: see move_pending; a probe per move of the chat, at most ten.
CREATE OR REPLACE FUNCTION outbox.follow_chats(p_bot text, p_chat_ids text[], p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c record;
    v_next text;
BEGIN
    FOR c IN
        SELECT k.chat_id, k.moved_to
          FROM unnest(p_chat_ids) l
         CROSS JOIN LATERAL (SELECT * FROM outbox.chat k WHERE k.chat_id = l AND k.bot = p_bot LIMIT 1) k
    LOOP
        v_next := c.moved_to;
        FOR i IN 1 .. 10 LOOP
            EXIT WHEN v_next IS NULL OR v_next = c.chat_id;
            v_next := (SELECT k.moved_to FROM outbox.chat k WHERE k.chat_id = v_next AND k.bot = p_bot);
        END LOOP;
        IF v_next IS NULL THEN
            -- 1,000: claim holds the bot's bucket meanwhile. The lane keeps its wakeup, so the next claim goes on.
            PERFORM outbox.move_pending(p_bot, c.chat_id, c.moved_to, p_now, 1000);
        ELSE
            UPDATE outbox.chat k SET moved_to = NULL WHERE k.chat_id = c.chat_id AND k.bot = p_bot;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.follow_chats IS 'Moves what waits in lanes of chats that have moved. Part of claim.';
