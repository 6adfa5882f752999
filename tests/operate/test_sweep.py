"""What was cancelled ends also where no claim comes by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.invariants.calls import Connection, claim, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session


def sweep(connection: Connection, most: int = 1000) -> int:
    row = connection.execute("SELECT outbox.sweep(%s)", [most]).fetchone()
    assert row is not None
    return int(row[0])


def sweep_all(connection: Connection) -> None:
    while sweep(connection):
        pass


def rows(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM outbox.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_a_cancelled_message_of_a_paused_bot_ends(connection: Connection) -> None:
    message_id = insert(connection, 1)
    connection.execute("SELECT outbox.pause('default')")
    connection.execute("SELECT outbox.cancel(%s)", [message_id])
    sweep_all(connection)
    assert connection.execute("SELECT status, error_text FROM outbox.history").fetchall() == [
        ("cancelled", "asked for by postgres")
    ]
    assert rows(connection, "request") == 0


def test_what_is_scheduled_under_a_cancelled_tag_ends_now(connection: Connection, frozen: FrozenClock) -> None:
    message_id = insert(connection, 1, tag="news", next_attempt_at=frozen.at + timedelta(days=7))
    connection.execute("SELECT outbox.cancel(p_tag => 'news')")
    later = insert(connection, 1, tag="news", next_attempt_at=frozen.at + timedelta(days=7))
    sweep_all(connection)
    assert [status(connection, one) for one in (message_id, later)] == ["cancelled", "queued"]


def test_a_call_ends_a_bounded_number(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag) SELECT i::text, '{}', 'news' FROM generate_series(1, 250) i"
    )
    connection.execute("SELECT outbox.cancel(p_tag => 'news')")
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot) SELECT i::text, 'default' FROM generate_series(1, 250) i"
    )
    assert [sweep(connection, 100) for _ in range(4)] == [100, 100, 50, 0]
    assert broken(connection) == []


def test_what_is_being_sent_is_left_to_its_answer(connection: Connection) -> None:
    message_id = insert(connection, 1, tag="news")
    claim(connection, register(connection))
    connection.execute("SELECT outbox.cancel(%s)", [message_id])
    connection.execute("SELECT outbox.cancel(p_tag => 'news')")
    assert sweep(connection) == 0
    assert status(connection, message_id) == "sending"
    assert rows(connection, "request") == 1


def test_a_chat_that_another_transaction_holds_is_left_for_the_next_time(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    message_id = insert(connection, 1)
    connection.execute("INSERT INTO outbox.chat (chat_id, bot) VALUES ('1', 'default')")
    connection.execute("SELECT outbox.cancel(%s)", [message_id])
    session = open_session()
    session.begin().execute("SELECT FROM outbox.chat FOR UPDATE")
    assert sweep(connection) == 0
    session.commit()
    assert sweep(connection) == 1


def test_a_cancelled_tag_is_remembered_as_long_as_anything_waits(connection: Connection) -> None:
    insert(connection, 1, tag="news")
    claim(connection, register(connection))
    connection.execute("SELECT outbox.cancel(p_tag => 'news'), outbox.cancel(p_tag => 'gone')")
    sweep(connection)
    assert rows(connection, "stop") == 2
    connection.execute("UPDATE outbox.stop SET requested_at = outbox.clock() - interval '61 s'")
    sweep(connection)
    assert connection.execute("SELECT tag FROM outbox.stop").fetchall() == [("news",)]


def test_a_cancelled_tag_covers_what_was_inserted_before_and_commits_later(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    application = open_session()
    message_id = insert(application.begin(), 1, tag="news")
    connection.execute("SELECT outbox.cancel(p_tag => 'news')")
    connection.execute("UPDATE outbox.stop SET requested_at = outbox.clock() - interval '61 s'")
    sweep(connection)
    application.commit()
    sweep_all(connection)
    assert status(connection, message_id) == "cancelled"


def test_thousands_of_cancelled_tags_cost_no_walk_over_what_waits(connection: Connection) -> None:
    """With statistics the planner would rather walk the primary key up to the bound, once per tag."""
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT i::text, '{}', 'news' FROM generate_series(1, 20000) i"
    )
    connection.execute("ANALYZE outbox.message")
    connection.execute("SELECT outbox.cancel(p_tag => 'other ' || i) FROM generate_series(1, 20) i")
    connection.execute("ANALYZE outbox.stop")
    before = connection.execute("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'message_pkey'")
    read = before.fetchone()
    sweep(connection)
    connection.execute("SELECT pg_stat_force_next_flush()")
    after = connection.execute("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'message_pkey'")
    now = after.fetchone()
    assert read is not None
    assert now is not None
    assert now[0] - read[0] < 100


def test_a_request_whose_message_has_ended_is_dropped(connection: Connection) -> None:
    message_id = insert(connection, 1)
    connection.execute("SELECT outbox.cancel(%s)", [message_id])
    connection.execute("SELECT outbox.forget('default', '1')")
    connection.execute(
        "INSERT INTO outbox.request (chat_id, bot, message_id) VALUES ('1', 'default', %s)", [message_id]
    )
    assert sweep(connection) == 0
    assert rows(connection, "request") == 0
