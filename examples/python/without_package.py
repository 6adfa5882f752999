"""A shop that sends Telegram messages from its own transactions: Python with psycopg alone, nothing of outbox imported.

It shows: a message committed with its order, and one rolled back with it; one scheduled and cancelled; an idempotency
key used twice; an edit of a message that is not sent yet; a refused message; waiting for the end of each.
producer.py beside it does the same with the package.

Run it while a worker runs (examples/README.md starts one); the chat's id is 42 unless given:

    export OUTBOX_DATABASE_URL=postgresql://shop@db/shop
    python examples/python/without_package.py
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import kwargs_row, scalar_row
from psycopg.types.json import Jsonb

ORDERS = """
    CREATE TABLE IF NOT EXISTS orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, chat_id bigint NOT NULL, state text NOT NULL)
"""
INSERT = "INSERT INTO outbox.message (chat_id, payload) VALUES (%s, %s) RETURNING id"
# send is an INSERT too: in the transaction of whoever calls it, and it returns an id even where a key is used already.
SEND_WITH_KEY = "SELECT outbox.send(%s, %s, p_idempotency_key => %s)"


class Status(NamedTuple):
    status: str
    telegram_message_id: int | None


def value(connection: psycopg.Connection, query: str, *parameters: Any) -> Any:
    """Run a query that returns one value."""
    [only] = connection.cursor(row_factory=scalar_row).execute(query, parameters)
    return only


def status_of(connection: psycopg.Connection, message_id: int) -> Status:
    cursor = connection.cursor(row_factory=kwargs_row(Status))
    [status] = cursor.execute("SELECT status, telegram_message_id FROM outbox.status(%s)", [message_id])
    return status


def wait(connection: psycopg.Connection, message_id: int, timeout_s: float) -> Status:
    """Listen first, then ask for the notification, then look: so none is missed. The connection is in autocommit."""
    deadline = time.monotonic() + timeout_s
    connection.execute("LISTEN outbox_ended")
    connection.execute("SELECT outbox.watch(%s, %s)", [message_id, timeout_s])
    while (status := status_of(connection, message_id)).status in ("queued", "sending"):
        if time.monotonic() > deadline:
            break
        # Every two seconds at least: a notification is a hint, behind a transaction pooler there is none.
        for notification in connection.notifies(timeout=2):
            if notification.payload == str(message_id):
                break
    return status


def main(chat_id: int) -> int:
    with psycopg.connect(os.environ["OUTBOX_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(ORDERS)

        # The order and its message are committed together, or neither is. Jsonb makes the dict a jsonb parameter.
        with connection.transaction():
            order_id = value(
                connection, "INSERT INTO orders (chat_id, state) VALUES (%s, 'paid') RETURNING id", chat_id
            )
            paid = value(connection, INSERT, chat_id, Jsonb({"text": f"Order {order_id} is paid"}))
        print(f"order {order_id} is paid, message {paid} is committed with it")

        # Rolled back, the message was never there: its id is spent, its status unknown.
        with connection.transaction() as transaction:
            connection.execute("UPDATE orders SET state = 'refused' WHERE id = %s", [order_id])
            refused = value(connection, INSERT, chat_id, Jsonb({"text": f"Order {order_id} is refused"}))
            raise psycopg.Rollback(transaction)
        print(f"message {refused} was rolled back with its order: {status_of(connection, refused).status}")

        # Scheduled for tomorrow, and cancelled with the change that made it needless. A datetime needs its time zone.
        reminder = value(
            connection,
            "INSERT INTO outbox.message (chat_id, payload, next_attempt_at) VALUES (%s, %s, %s) RETURNING id",
            chat_id,
            Jsonb({"text": f"How was order {order_id}?"}),
            datetime.now(UTC) + timedelta(days=1),
        )
        with connection.transaction():
            connection.execute("UPDATE orders SET state = 'returned' WHERE id = %s", [order_id])
            cancelled = value(connection, "SELECT outbox.cancel(%s)", reminder)
        print(f"message {reminder} was scheduled, and is cancelled: {cancelled}")

        # A retry of the same step, say after a lost connection: the key is used, so this is the first one's id.
        on_its_way = Jsonb({"text": f"Order {order_id} is on its way"})
        shipped = value(connection, SEND_WITH_KEY, chat_id, on_its_way, f"order-{order_id}-shipped")
        again = value(connection, SEND_WITH_KEY, chat_id, on_its_way, f"order-{order_id}-shipped")
        print(f"message {shipped} has a key, and with that key again: message {again}")

        # An edit of a message of our own that has no Telegram id yet: the outbox puts it in, and sends it after that.
        edit = value(
            connection,
            "INSERT INTO outbox.message (chat_id, method, payload, target_id)"
            " VALUES (%s, 'editMessageText', %s, %s) RETURNING id",
            chat_id,
            Jsonb({"text": f"Order {order_id} is paid and packed"}),
            paid,
        )
        print(f"message {edit} will edit message {paid}")

        # What could never be sent is refused at once, with what to do. It also ends the transaction it happens in.
        try:
            connection.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (%s, %s)", [chat_id, Jsonb("hi")])
        except psycopg.errors.CheckViolation as error:
            print(f"refused: {error.diag.message_primary}. {error.diag.message_hint}")

        # A chat is a lane: once the last message has ended, so have those before it.
        last = wait(connection, edit, timeout_s=30)
        for message_id in (paid, reminder, shipped, edit):
            status = status_of(connection, message_id)
            print(f"message {message_id}: {status.status}, Telegram's message id {status.telegram_message_id}")
    if last.status != "sent":
        print(f"message {edit} is {last.status}, not sent. Does a worker run? outbox up starts one.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 42))
