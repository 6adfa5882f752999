"""A shop that sends Telegram messages from its own transactions: Python, psycopg and the outbox package.

It shows: a message committed with its order, and one rolled back with it; one scheduled and cancelled; an idempotency
key used twice; an edit of a message that is not sent yet; a refused message; waiting for the end of each.

Run it while a worker runs (examples/README.md starts one); the chat's id is 42 unless given:

    export OUTBOX_DATABASE_URL=postgresql://shop@db/shop
    python examples/python/producer.py
"""

import os
import sys
from datetime import UTC, datetime, timedelta

import psycopg

import outbox

ORDERS = """
    CREATE TABLE IF NOT EXISTS orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chat_id bigint NOT NULL, state text NOT NULL)
"""


def main(chat_id: int) -> int:
    # Autocommit, and a block wherever there is a transaction: nothing stays open by accident while it waits.
    with psycopg.connect(os.environ["OUTBOX_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(ORDERS)

        # The order and its message are committed together, or neither is.
        with connection.transaction():
            insert = "INSERT INTO orders (chat_id, state) VALUES (%s, 'paid') RETURNING id"
            [(order_id,)] = connection.execute(insert, [chat_id])
            paid = outbox.send(connection, chat_id, {"text": f"Order {order_id} is paid"})
        print(f"order {order_id} is paid, message {paid} is committed with it")

        # Rolled back, the message was never there: its id is spent, its status unknown.
        with connection.transaction() as transaction:
            connection.execute("UPDATE orders SET state = 'refused' WHERE id = %s", [order_id])
            refused = outbox.send(connection, chat_id, {"text": f"Order {order_id} is refused"})
            raise psycopg.Rollback(transaction)
        print(f"message {refused} was rolled back with its order: {outbox.status(connection, refused).status}")

        # Scheduled for tomorrow, and cancelled with the change that made it needless. Cancelling waits for no worker.
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        reminder = outbox.send(connection, chat_id, {"text": f"How was order {order_id}?"}, next_attempt_at=tomorrow)
        with connection.transaction():
            connection.execute("UPDATE orders SET state = 'returned' WHERE id = %s", [order_id])
            cancelled = outbox.cancel(connection, reminder)
        print(f"message {reminder} was scheduled, and is cancelled: {cancelled}")

        # A retry of the same step, say after a lost connection: send gives the first one's id, enqueue gives None.
        key = f"order-{order_id}-shipped"
        shipped = outbox.send(connection, chat_id, {"text": f"Order {order_id} is on its way"}, idempotency_key=key)
        again = outbox.send(connection, chat_id, {"text": f"Order {order_id} is on its way"}, idempotency_key=key)
        stored = outbox.enqueue(connection, chat_id, {"text": f"Order {order_id} is on its way"}, idempotency_key=key)
        print(f"message {shipped} has a key, and with that key again: message {again}; enqueue stores {stored}")

        # An edit of a message of our own that has no Telegram id yet: the outbox puts it in, and sends it after that.
        edit = outbox.send(
            connection,
            chat_id,
            {"text": f"Order {order_id} is paid and packed"},
            method="editMessageText",
            target_id=paid,
        )
        print(f"message {edit} will edit message {paid}")

        # What could never be sent is refused, with what to do: here without a database. Inserted, it is refused in the
        # same words by psycopg's own error (error.diag.message_hint), which also ends the transaction it happens in.
        try:
            outbox.check(outbox.Message(chat_id, {"text": "hi"}, priority=7))
        except outbox.RefusedError as error:
            print(f"refused: {error}. {error.hint}")

        # A chat is a lane: once the last message has ended, so have those before it. Notified, and polling beneath.
        last = outbox.wait(connection, edit, timeout_s=30)
        for message_id in (paid, reminder, shipped, edit):
            status = outbox.status(connection, message_id)
            print(f"message {message_id}: {status.status}, Telegram's message id {status.telegram_message_id}")
    if last.status != "sent":
        print(f"message {edit} is {last.status}, not sent. Does a worker run? outbox up starts one.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 42))
