-- Promise: nothing waits for this chat any more: its messages and dead letters ended as discarded ("forgotten"), its
-- wakeups, requests and old tickets are gone, its row too. Refuses while a message is on its way to it, after two
-- seconds of hoping.
-- Locks: the chat, waited for, and what it deletes.  Cost: its messages; one walk over dead letters, wakeups and chats.
CREATE OR REPLACE FUNCTION outbox.forget_lane(p_bot text, p_chat_id text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    FOR v_try IN 1 .. 20 LOOP
        BEGIN
            IF EXISTS (SELECT FROM outbox.message m WHERE m.chat_id = p_chat_id AND m.bot = p_bot) THEN
                -- A claim that comes now must find a row to stumble over.
                INSERT INTO outbox.chat (chat_id, bot) VALUES (p_chat_id, p_bot) ON CONFLICT DO NOTHING;
            END IF;
            PERFORM FROM outbox.chat c WHERE c.chat_id = p_chat_id AND c.bot = p_bot FOR UPDATE;
            IF EXISTS (SELECT FROM outbox.chat c
                        WHERE c.chat_id = p_chat_id AND c.bot = p_bot AND c.in_flight IS NOT NULL) THEN
                RAISE EXCEPTION 'a message of bot % is on its way to this chat', p_bot USING ERRCODE = 'object_in_use',
                    HINT = format('Nothing was changed. Call it again; SELECT outbox.pause(%L) first helps.', p_bot);
            END IF;
            EXIT;
        EXCEPTION WHEN object_in_use THEN
            -- The block took its lock back: complete can get at the chat.
            IF v_try = 20 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;

    -- Before the messages: whose wakeup is seen here is seen by the next statement too, so none is left without (I1).
    PERFORM outbox.drop_wakeups(p_bot, p_chat_id);
    DELETE FROM outbox.request q WHERE q.chat_id = p_chat_id AND q.bot = p_bot;
    -- A reply that is on its way keeps its ticket. Not waited for: settle takes the ticket before the chat.
    DELETE FROM outbox.ticket t WHERE t.ticket = ANY (ARRAY(
        SELECT x.ticket FROM outbox.ticket x
         WHERE x.chat_id = p_chat_id AND x.bot = p_bot AND x.runs_out_at < outbox.clock() FOR UPDATE SKIP LOCKED));
    PERFORM outbox.finish_messages(ARRAY(
        SELECT jsonb_populate_record(NULL::outbox.ending, jsonb_build_object(
                   'message_id', m.id, 'status', 'discarded', 'attempts', m.attempts, 'calls', m.calls,
                   'error_class', 'forgotten'))
          FROM outbox.message m WHERE m.chat_id = p_chat_id AND m.bot = p_bot));
    PERFORM outbox.discard_dead_letters(ARRAY(
        SELECT d.id FROM outbox.dead_letter d WHERE d.chat_id = p_chat_id AND d.bot = p_bot), 'forgotten');
    -- Those that moved to it name it as well.
    DELETE FROM outbox.chat c WHERE c.ctid = ANY (ARRAY(
        SELECT k.ctid FROM outbox.chat k
         WHERE k.bot = p_bot AND (k.chat_id = p_chat_id OR k.moved_to = p_chat_id) AND k.in_flight IS NULL
           FOR UPDATE SKIP LOCKED));
END $$;
COMMENT ON FUNCTION outbox.forget_lane IS 'Ends all that waits for a chat, and the chat. Part of forget.';
