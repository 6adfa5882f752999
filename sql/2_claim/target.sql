-- Promise: what came of the message that this one edits, deletes, pins or answers, and the id that Telegram gave it.
-- sent: with its id. waits: not gone yet. died: a dead letter. not_sent: it ended otherwise. missing: it was sent to another
-- chat (one that became a supergroup has other ids since), bears no id, or nothing is known of it any more.
-- Locks: nothing.  Cost: a probe in message, in each kept day of finished, and in dead_letter; PL/pgSQL, because a plan that
-- names finished opens every day.
CREATE OR REPLACE FUNCTION outbox.find_target(
    p_id bigint, p_bot text, p_chat_id text, OUT state text, OUT telegram_message_id bigint,
    OUT message_ids jsonb)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    m record;
    f record;
BEGIN
    SELECT x.bot, x.chat_id INTO m FROM outbox.message x WHERE x.id = p_id;
    IF FOUND THEN
        state := CASE WHEN (m.bot, m.chat_id) = (p_bot, p_chat_id) THEN 'waits' ELSE 'missing' END;
        RETURN;
    END IF;
    SELECT * INTO f FROM outbox.finished x WHERE x.id = p_id ORDER BY x.finished_at DESC LIMIT 1;
    IF FOUND THEN
        state := CASE WHEN f.status <> 'sent' THEN 'not_sent'
                      WHEN f.bot <> p_bot OR f.chat_id <> p_chat_id OR f.telegram_message_id IS NULL THEN 'missing'
                      ELSE 'sent' END;
        IF state = 'sent' THEN
            telegram_message_id := f.telegram_message_id;
            -- Of an album all of them.
            message_ids := coalesce(f.telegram_answer -> 'message_ids', jsonb_build_array(f.telegram_message_id));
        END IF;
        RETURN;
    END IF;
    state := CASE WHEN EXISTS (SELECT FROM outbox.dead_letter d WHERE d.id = p_id) THEN 'died' ELSE 'missing' END;
END $$;
COMMENT ON FUNCTION outbox.find_target IS 'What came of a message that another one edits or answers. Part of claim.';

-- Promise: the payload with Telegram's id of its target in the parameter that the method takes it in; what the writer put
-- there himself is replaced.
-- Locks: nothing.  Cost: one copy of the payload.
-- Bot API: send* and the like answer by reply_parameters; deleteMessages, copyMessages and forwardMessages take a list;
-- everything else that names a message takes message_id. Copies are made within the chat unless from_chat_id says otherwise.
CREATE OR REPLACE FUNCTION outbox.aim_payload(
    p_method text, p_payload jsonb, p_chat_id text, p_message_id bigint, p_message_ids jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
           WHEN lower(p_method) LIKE 'send%' THEN
               p_payload || jsonb_build_object('reply_parameters',
                   CASE WHEN jsonb_typeof(p_payload -> 'reply_parameters') = 'object'
                        THEN p_payload -> 'reply_parameters' ELSE '{}' END
                   || jsonb_build_object('message_id', p_message_id))
           WHEN lower(p_method) IN ('copymessage', 'forwardmessage') THEN
               jsonb_build_object('from_chat_id', p_chat_id) || p_payload
                   || jsonb_build_object('message_id', p_message_id)
           WHEN lower(p_method) IN ('copymessages', 'forwardmessages') THEN
               jsonb_build_object('from_chat_id', p_chat_id) || p_payload
                   -- One: the call was given the places of one.
                   || jsonb_build_object('message_ids', jsonb_build_array(p_message_id))
           WHEN lower(p_method) = 'deletemessages' THEN
               p_payload || jsonb_build_object('message_ids', p_message_ids)
           ELSE p_payload || jsonb_build_object('message_id', p_message_id) END
$$;
COMMENT ON FUNCTION outbox.aim_payload IS 'A payload with Telegram''s id of the message that it edits or answers. Part of claim.';
