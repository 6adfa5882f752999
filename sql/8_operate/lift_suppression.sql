-- Promise: true: this chat may be sent to, whatever it refused before. false: just now a message is on its way to it,
-- whose answer decides, or somebody holds the chat for more than 100 ms: ask again. For producers too, in any
-- transaction.
-- Locks: the chat, while nothing is in flight for it, so that no result of a worker waits for the caller's commit (but
-- for one of a worker that lost its lease); claim goes round it. Waits 100 ms at most, holds on until the commit.
-- Cost: one probe; where there is something to lift one HOT update, audited.
CREATE OR REPLACE FUNCTION outbox.lift_suppression(p_bot text, p_chat_id text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    v_bot text := outbox.require_bot(p_bot);
    c outbox.chat;
BEGIN
    SELECT * INTO c FROM outbox.chat k WHERE k.chat_id = lower(p_chat_id COLLATE "C") AND k.bot = v_bot;
    IF c.moved_to IS NOT NULL THEN
        SELECT * INTO c FROM outbox.chat k WHERE k.chat_id = c.moved_to AND k.bot = v_bot;
    END IF;
    IF c.suppressed_until IS NULL AND coalesce(c.suppression_evidence, 0) = 0 THEN
        RETURN true;
    END IF;
    BEGIN
        PERFORM FROM outbox.chat k WHERE k.chat_id = c.chat_id AND k.bot = v_bot AND k.in_flight IS NULL FOR UPDATE;
        IF NOT FOUND THEN
            -- Raised, because leaving the block by an error gives back a lock that the look may have left behind.
            RAISE lock_not_available;
        END IF;
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    PERFORM outbox.clear_suppression(ARRAY[c.chat_id::text], ARRAY[v_bot]);
    PERFORM outbox.note_action('lift_suppression', jsonb_build_object('bot', v_bot, 'chat_id', c.chat_id), 1);
    RETURN true;
END $$;
COMMENT ON FUNCTION outbox.lift_suppression(text, text) IS
    'Lets messages go to a chat again that had refused them, because the user came back. Call it before the insert or in its transaction; the chat''s messages wait for that to commit. false: a message is on its way to it just now, ask again. Audited.';

-- Promise: the same for a chat given as a number.  Locks and Cost: see above.
CREATE OR REPLACE FUNCTION outbox.lift_suppression(p_bot text, p_chat_id bigint) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT outbox.lift_suppression(p_bot, p_chat_id::text)
$$;
COMMENT ON FUNCTION outbox.lift_suppression(text, bigint) IS 'outbox.lift_suppression for a chat given as a number.';
