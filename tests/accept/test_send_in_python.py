"""send on every kind of connection: the id of the message that is kept, in the caller's transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

import outbox
from outbox import Message
from tests.accept.connections import KINDS, done, opened


@pytest.mark.parametrize("kind", KINDS)
async def test_a_repeated_key_brings_the_first_messages_id(db, kind):
    async with opened(kind, db.url) as transaction:
        first = await done(outbox.send(transaction.connection, 42, {"text": "hi"}, idempotency_key="a"))
        assert isinstance(first, int)
        assert db.execute("SELECT count(*) FROM outbox.message") == [(0,)]
        await transaction.commit()
        assert await done(outbox.send(transaction.connection, 43, {"text": "ho"}, idempotency_key="a")) == first
        assert await done(outbox.send(transaction.connection, "@Name", {}, idempotency_key="b")) > first
        await transaction.commit()
    assert db.execute("SELECT chat_id, payload FROM outbox.message ORDER BY id") == [
        ("42", {"text": "hi"}),
        ("@name", {}),
    ]


def test_every_column_arrives_as_by_enqueue(db):
    at = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    with db.connect() as connection:
        target = outbox.send(connection, "@Name", {})
        columns: dict[str, Any] = {
            "bot": "default",
            "method": "editMessageText",
            "priority": 1,
            "next_attempt_at": at,
            "expires_at": at,
            "max_attempts": 3,
            "correlation_id": "c",
            "collapse_key": "k",
            "on_uncertain": "hold",
            "tag": "t",
            "target_id": target,
        }
        outbox.send(connection, "@Name", {"text": "ü"}, **columns, idempotency_key="i")
        outbox.enqueue(connection, "@Name", {"text": "ü"}, **columns, idempotency_key="j")
        assert columns.keys() | {"idempotency_key"} == outbox.accept.message.Columns.__annotations__.keys()
    [sent, enqueued] = db.execute(
        "SELECT to_jsonb(m) - 'id' - 'created_at' - 'idempotency_key' FROM outbox.message m WHERE tag = 't'"
    )
    assert sent == enqueued


def test_what_the_database_refuses_is_raised_with_its_hint(db):
    with db.connect() as connection, pytest.raises(psycopg.IntegrityError, match="priority 9") as refusal:
        outbox.send(connection, 42, {}, priority=9)
    assert "Use 0 critical" in str(refusal.value.diag.message_hint)


def test_what_no_database_could_store_leaves_the_transaction_usable(db):
    with db.connect(autocommit=False) as connection:
        with pytest.raises(ValueError, match="payload cannot be JSON"):
            outbox.send(connection, 42, {"x": float("nan")})
        outbox.send(connection, 42, {})
    assert db.execute("SELECT count(*) FROM outbox.message") == [(1,)]


def test_a_producer_may_send_ask_wait_and_cancel(login):
    producer = login("outbox_producer")
    message_id = outbox.send(producer, 42, {}, idempotency_key="a")
    assert outbox.send(producer, 42, {}, idempotency_key="a") == message_id
    assert outbox.status(producer, message_id).status == "queued"
    assert outbox.wait(producer, message_id, 0.1).status == "queued"
    assert outbox.cancel(producer, message_id) is True
    follower = Message(42, {}, tag="t", target_id=message_id)
    assert None not in outbox.enqueue_many(producer, [Message(1, {}), follower])
