-- Promise: the bucket does not say any more that this chat was flooded or refused. If workers hold the bucket all the time,
-- the chat's name stays there until the next flood or refusal of the bot.
-- Locks: the bucket, out of the order of I3, and so never waited for but asked again for half a second.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.forget_chat_in_bucket(p_bot text, p_chat_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        PERFORM FROM outbox.bucket b WHERE b.bot = p_bot FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE outbox.bucket b
               SET (flood_chats, flood_at, flood_until) = (
                       SELECT coalesce(array_agg(f.chat_id), '{}'), coalesce(array_agg(f.at), '{}'),
                              coalesce(array_agg(f.until), '{}')
                         FROM unnest(b.flood_chats, b.flood_at, b.flood_until) f (chat_id, at, until)
                        WHERE f.chat_id <> p_chat_id),
                   (refused_chats, refused_at) = (
                       SELECT coalesce(array_agg(r.chat_id), '{}'), coalesce(array_agg(r.at), '{}')
                         FROM unnest(b.refused_chats, b.refused_at) r (chat_id, at) WHERE r.chat_id <> p_chat_id)
             WHERE b.bot = p_bot AND (p_chat_id = ANY (b.flood_chats) OR p_chat_id = ANY (b.refused_chats));
            RETURN true;
        END IF;
        PERFORM pg_sleep(0.005);
    END LOOP;
    RETURN false;
END $$;
COMMENT ON FUNCTION outbox.forget_chat_in_bucket IS 'Takes a chat out of a bot''s floods and refusals. Part of forget.';
