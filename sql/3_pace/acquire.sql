-- Promise: a slot for a reply that the bot sends itself, from the same ring and lane as the queue, so that both
-- together break no limit (I6): send no sooner than delay_s after the answer to this call came, and no later than half a
-- second after that; then call outbox.settle. ticket NULL: there is no slot now; ask again after delay_s.
-- Locks, in order: bucket, chat; both SKIP LOCKED, held for one short transaction. Waits for the bucket 60 ms at most.
-- Cost: two transactions that write one row of bucket, chat and ticket; where there is no slot, at most the chat.
-- p_cost: messages that the one call makes: an album or copyMessages of N. answerCallbackQuery costs nothing: do not ask.
-- delay_s is reckoned on the database's clock, after the commit.
CREATE OR REPLACE PROCEDURE outbox.acquire(
    p_bot text, p_chat_id text, p_cost int DEFAULT 1,
    INOUT ticket bigint DEFAULT NULL, INOUT slot_at timestamptz DEFAULT NULL, INOUT delay_s float8 DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    v_ask_at timestamptz;
BEGIN
    CALL outbox.refuse_open_transaction('outbox.acquire');
    ticket := NULL;
    slot_at := NULL;
    -- In a transaction of its own: making a row may wait for somebody who makes the same one, and nobody waits while he
    -- holds the bucket.
    PERFORM outbox.open_lane(p_bot, p_chat_id, p_cost);
    COMMIT;
    FOR i IN 1 .. 20 LOOP
        SELECT g.ticket, g.slot_at, g.ask_at INTO ticket, slot_at, v_ask_at
          FROM outbox.give_ticket(p_bot, p_chat_id, p_cost) g;
        COMMIT;
        EXIT WHEN ticket IS NOT NULL OR v_ask_at IS NOT NULL;
        -- Asleep without a lock: a claim holds the bucket for some milliseconds.
        PERFORM pg_sleep(0.001 + 0.002 * random());
    END LOOP;
    IF ticket % 64 = 0 THEN
        PERFORM outbox.drop_tickets();
        COMMIT;
    END IF;
    delay_s := greatest(extract(epoch FROM coalesce(slot_at, v_ask_at, outbox.clock() + interval '20 ms')
                                           - outbox.clock()), 0);
END $$;
COMMENT ON PROCEDURE outbox.acquire IS
    'A slot for a reply that the bot sends itself: wait delay_s, send, CALL outbox.settle(ticket, age_s). Commits by itself.';
