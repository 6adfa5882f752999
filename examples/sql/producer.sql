-- A shop that sends Telegram messages from its own transactions, in plain SQL for psql 15 or newer.
--
-- It shows: a message committed with its order, and one rolled back with it; one scheduled and cancelled; an
-- idempotency key used twice; an edit of a message that is not sent yet; a refused row; how each one ended.
--
-- Run it while a worker runs (examples/README.md starts one); -v chat=123456 writes to another chat than 42:
--     psql "$OUTBOX_DATABASE_URL" -f examples/sql/producer.sql
--     outbox db psql -f examples/sql/producer.sql                    the same, for a machine without psql
\set ON_ERROR_STOP on
\set QUIET on
\if :{?chat} \else \set chat 42 \endif
SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chat_id bigint NOT NULL, state text NOT NULL);

-- The order and its message are committed together, or neither is. jsonb_build_object quotes whatever the text holds.
BEGIN;
INSERT INTO orders (chat_id, state) VALUES (:'chat', 'paid') RETURNING id AS order_id \gset
INSERT INTO outbox.message (chat_id, payload)
VALUES (:'chat', jsonb_build_object('text', format('Order %s is paid', :order_id)))
RETURNING id AS paid \gset
COMMIT;
\echo order :order_id is paid, message :paid is committed with it

-- Rolled back, the message was never there: its id is spent, its status unknown.
BEGIN;
UPDATE orders SET state = 'refused' WHERE id = :order_id;
INSERT INTO outbox.message (chat_id, payload)
VALUES (:'chat', jsonb_build_object('text', format('Order %s is refused', :order_id)))
RETURNING id AS refused \gset
ROLLBACK;
SELECT status FROM outbox.status(:refused) \gset
\echo message :refused was rolled back with its order: :status

-- Scheduled for tomorrow, and cancelled with the change that made it needless. Cancelling waits for no worker.
INSERT INTO outbox.message (chat_id, payload, next_attempt_at)
VALUES (:'chat', jsonb_build_object('text', format('How was order %s?', :order_id)), now() + interval '1 day')
RETURNING id AS reminder \gset
BEGIN;
UPDATE orders SET state = 'returned' WHERE id = :order_id;
SELECT outbox.cancel(:reminder) AS cancelled \gset
COMMIT;
\echo message :reminder was scheduled, and is cancelled: :cancelled

-- A retry of the same step, say after a lost connection: the key is used, so outbox.send gives the first one's id.
SELECT outbox.send(:'chat', jsonb_build_object('text', format('Order %s is on its way', :order_id)),
                   p_idempotency_key => format('order-%s-shipped', :order_id)) AS shipped \gset
SELECT outbox.send(:'chat', jsonb_build_object('text', format('Order %s is on its way', :order_id)),
                   p_idempotency_key => format('order-%s-shipped', :order_id)) AS again \gset
\echo message :shipped has a key, and with that key again: message :again

-- An edit of a message of our own that has no Telegram id yet: the outbox puts it in, and sends it after that.
INSERT INTO outbox.message (chat_id, method, payload, target_id)
VALUES (:'chat', 'editMessageText', jsonb_build_object('text', format('Order %s is paid and packed', :order_id)), :paid)
RETURNING id AS edit \gset
\echo message :edit will edit message :paid

-- What could never be sent is refused at once; psql prints the error and, as HINT, what to do.
\echo priority 7 is refused:
\set ON_ERROR_STOP off
INSERT INTO outbox.message (chat_id, payload, priority) VALUES (:'chat', '{"text": "hi"}', 7);
\set ON_ERROR_STOP on

-- Wait for the end. A chat is a lane: once the last message has ended, so have those before it. psql cannot wait for a
-- notification, so this looks every half second; COMMIT, for no transaction should stay open meanwhile. psql fills
-- nothing in between $$ and $$: a setting carries the id there.
SELECT set_config('shop.message', :'edit', false) AS message \gset
DO $$
DECLARE
    v_status text;
BEGIN
    FOR try IN 1..60 LOOP
        SELECT status INTO v_status FROM outbox.status(current_setting('shop.message')::bigint);
        EXIT WHEN v_status NOT IN ('queued', 'sending');
        COMMIT;
        PERFORM pg_sleep(0.5);
    END LOOP;
    IF v_status <> 'sent' THEN
        RAISE EXCEPTION 'message % is %, not sent', current_setting('shop.message'), v_status
            USING HINT = 'Does a worker run? This starts one: outbox up';
    END IF;
END $$;
SELECT message.id AS message, now.status, now.telegram_message_id, now.attempts, now.error_text
  FROM (VALUES (:paid), (:reminder), (:shipped), (:edit)) AS message (id)
 CROSS JOIN outbox.status(message.id) AS now;
