-- The literal outbox, as a reader expects it: SELECT … FOR UPDATE SKIP LOCKED on the message rows themselves, in order of
-- (priority, next_attempt_at, id), skipping chats that cool or are in flight. bench/scenarios/card.py holds it against
-- outbox.claim, on the same tables and the same rows.
--
-- What is done for it: an index in exactly its order, so that LIMIT stops the walk and nothing is sorted (no predicate:
-- a message that ended has left the table, every row in the index is live); an anti-join that probes chat by its
-- primary key; fresh statistics (the bench runs VACUUM ANALYZE), no planner setting against it; no bucket, no slots,
-- no expiry and no requests to apply, all of which outbox.claim does in the same time.
-- What it does: walks the index from the front; takes each row whose chat is free, once per chat; locks chat and
-- message, both SKIP LOCKED, so any number of workers may call it; marks the chat in flight, which hides the chat's
-- other rows from everybody else. outbox.complete ends that flight, as it does for outbox.claim.
-- What it cannot avoid: rows of chats that may not send now stand in the index in front of rows that may, and each is
-- read, at each claim, again.
CREATE INDEX message_literal ON outbox.message (bot, priority, next_attempt_at, id);

CREATE FUNCTION outbox.literal_claim(p_worker bigint, p_bot text, p_n int)
RETURNS TABLE (bot text, chat_id text, message_id bigint, attempt int, method text, payload jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_taken text[] := '{}';
    m record;
BEGIN
    FOR m IN
        SELECT x.id, x.bot, x.chat_id, x.calls, x.method, x.payload
          FROM outbox.message x
         WHERE x.bot = p_bot AND x.next_attempt_at <= now()
           AND NOT EXISTS (SELECT FROM outbox.chat c
                            WHERE c.chat_id = x.chat_id AND c.bot = x.bot
                              AND (c.in_flight IS NOT NULL OR c.next_send_at > now()))
         ORDER BY x.priority, x.next_attempt_at, x.id
           FOR UPDATE OF x SKIP LOCKED
    LOOP
        CONTINUE WHEN m.chat_id = ANY (v_taken);
        INSERT INTO outbox.chat (chat_id, bot) VALUES (m.chat_id, m.bot) ON CONFLICT DO NOTHING;
        PERFORM FROM outbox.chat c
          WHERE c.chat_id = m.chat_id AND c.bot = m.bot
            AND c.in_flight IS NULL AND (c.next_send_at > now()) IS NOT TRUE FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        UPDATE outbox.chat c SET in_flight = m.id, worker = p_worker, attempt = m.calls + 1, claimed_at = now()
         WHERE c.chat_id = m.chat_id AND c.bot = m.bot;
        v_taken := v_taken || m.chat_id;
        bot := m.bot; chat_id := m.chat_id; message_id := m.id; attempt := m.calls + 1; method := m.method; payload := m.payload;
        RETURN NEXT;
        EXIT WHEN cardinality(v_taken) = p_n;
    END LOOP;
END $$;
