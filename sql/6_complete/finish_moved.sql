-- Promise: a late "sent" for a message that has moved to another chat since finishes it there, instead of letting it be sent
-- again (I7), unless it is in flight there.
-- Locks: the new chats. Out of the order of I3, and so never waited for but asked again for 100 ms.
-- Cost: one probe per late "sent" that found no message; more only after a migration.
CREATE OR REPLACE FUNCTION outbox.finish_moved(p_worker bigint, p_results outbox.result[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    c outbox.chat;
BEGIN
    FOR r IN SELECT x.message_id, x.bot, x.attempt, x.telegram_message_id, x.telegram_answer, m.chat_id, m.attempts, m.calls
               FROM unnest(p_results) x
              CROSS JOIN LATERAL (SELECT * FROM outbox.message m
                                   WHERE m.id = x.message_id AND m.bot = x.bot AND m.chat_id <> x.chat_id LIMIT 1) m
              WHERE x.fate = 'resolve' AND coalesce(m.correlation_id = x.correlation_id, true) LOOP
        FOR i IN 1 .. 20 LOOP
            SELECT * INTO c FROM outbox.chat k WHERE k.chat_id = r.chat_id AND k.bot = r.bot FOR UPDATE SKIP LOCKED;
            EXIT WHEN FOUND OR NOT EXISTS (SELECT FROM outbox.chat k WHERE k.chat_id = r.chat_id AND k.bot = r.bot);
            PERFORM pg_sleep(0.005);
        END LOOP;
        CONTINUE WHEN c.in_flight = r.message_id
                   OR c.bot IS NULL AND EXISTS (SELECT FROM outbox.chat k WHERE k.chat_id = r.chat_id AND k.bot = r.bot);
        PERFORM outbox.finish_messages(ARRAY[ROW(
            r.message_id, 'sent', greatest(r.attempts, 1), greatest(r.calls, r.attempt), r.telegram_message_id, NULL, NULL,
            p_worker, r.telegram_answer)::outbox.ending]);
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.finish_moved IS 'A late "sent" finishes a message that has moved to another chat. Part of complete.';
