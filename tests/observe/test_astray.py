"""Whether a message that was lost, or doubled, is found: rows are taken away here that no function takes away."""

from __future__ import annotations

from tests.conftest import Database
from tests.invariants.calls import Connection, insert


def astray(connection: Connection) -> list[tuple[int, int, str]]:
    return connection.execute("SELECT message_id, states, evidence FROM outbox.find_astray()").fetchall()


def test_a_message_that_waits_is_not_astray(connection: Connection) -> None:
    insert(connection, 1, idempotency_key="a")
    assert astray(connection) == []
    assert connection.execute("SELECT outbox.count_astray()").fetchone() == (0,)


def test_a_message_that_only_its_key_remembers_is_astray(connection: Connection) -> None:
    message_id = insert(connection, 1, idempotency_key="a")
    connection.execute("DELETE FROM outbox.message")
    assert astray(connection) == [(message_id, 0, "idempotency key")]
    assert connection.execute("SELECT outbox.count_astray()").fetchone() == (1,)
    assert connection.execute("SELECT found FROM outbox.finding WHERE name = 'astray'").fetchall() == [(1,)]


def test_a_message_that_only_a_call_remembers_is_astray(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)"
        " VALUES (99, 1, 'default', '1', outbox.clock(), 'sent')"
    )
    assert astray(connection) == [(99, 0, "attempt")]


def test_a_message_in_two_states_is_astray(connection: Connection) -> None:
    message_id = insert(connection, 1, idempotency_key="a")
    connection.execute(
        "INSERT INTO outbox.finished (id, bot, chat_id, method, priority, status, correlation_id, created_at,"
        " scheduled_for, finished_at, attempts) SELECT id, bot, chat_id, method, priority, 'sent', correlation_id,"
        " created_at, next_attempt_at, outbox.clock(), 1 FROM outbox.message"
    )
    assert astray(connection) == [(message_id, 2, "idempotency key")]


def test_a_key_that_outlived_the_history_of_its_message_is_no_evidence(db: Database) -> None:
    with db.connect() as connection:
        connection.execute("UPDATE outbox.bot SET idempotency_s = 90 * 86400")
        insert(connection, 1, idempotency_key="a")
        connection.execute("UPDATE outbox.message SET created_at = created_at - interval '60 days'")
        insert(connection, 2)
        connection.execute("UPDATE outbox.bot SET idempotency_s = 7 * 86400")
        connection.execute("DELETE FROM outbox.message WHERE chat_id = '1'")
        assert astray(connection) == []
