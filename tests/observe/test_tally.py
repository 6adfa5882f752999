"""What was accepted and what became of it, per bot and method: each message once, in every snapshot."""

from __future__ import annotations

from tests.conftest import Database
from tests.invariants.calls import Connection, claim, insert, register
from tests.invariants.frozen_clock import FrozenClock


def measure(connection: Connection) -> None:
    connection.execute("SELECT outbox.measure_broadcasts()")


def tally(connection: Connection) -> dict[str, int]:
    """The default bot's messages by status."""
    rows = connection.execute(
        "SELECT status, sum(messages)::bigint FROM outbox.tally WHERE bot = 'default' GROUP BY status"
    ).fetchall()
    return dict(rows)


def by_method(connection: Connection, status: str) -> dict[str, int]:
    rows = connection.execute(
        "SELECT method, sum(messages)::bigint FROM outbox.tally WHERE bot = 'default' AND status = %s GROUP BY method",
        [status],
    ).fetchall()
    return dict(rows)


def test_each_method_is_counted_by_itself(connection: Connection) -> None:
    insert(connection, 1)
    insert(connection, 2, method="sendPhoto")
    ended = insert(connection, 3, method="sendPhoto")
    connection.execute("SELECT outbox.cancel(%s)", [ended])
    while connection.execute("SELECT outbox.sweep(100)").fetchone() != (0,):
        pass
    measure(connection)
    assert by_method(connection, "accepted") == {"sendMessage": 1, "sendPhoto": 2}
    assert by_method(connection, "cancelled") == {"sendPhoto": 1}


def test_however_many_methods_are_written_a_hundred_are_named_and_no_message_counts_twice(
    connection: Connection,
) -> None:
    """The column takes any name; a metric's labels must be few, and the same the next time."""
    messages = {}
    for number in range(120):
        method = "send" + chr(ord("A") + number % 26) * (1 + number // 26)
        messages[method] = insert(connection, 100 + number, method=method)
    measure(connection)
    accepted = by_method(connection, "accepted")
    assert len(accepted) == 101
    assert sum(accepted.values()) == 120
    assert accepted["sendMessage"] == 0, "every bot's most used one is named first"
    named = next(method for method in messages if method in accepted)
    unnamed = next(method for method in messages if method not in accepted)
    for method in (named, unnamed):
        connection.execute("SELECT outbox.cancel(%s)", [messages[method]])
    while connection.execute("SELECT outbox.sweep(100)").fetchone() != (0,):
        pass
    measure(connection)
    measure(connection)
    assert by_method(connection, "cancelled") == {named: 1, "other": 1}
    insert(connection, 2, method=unnamed)
    measure(connection)
    assert by_method(connection, "accepted") == accepted | {"other": accepted["other"] + 1}


def test_what_waits_is_accepted_and_nothing_else(connection: Connection) -> None:
    for chat in range(3):
        insert(connection, chat + 1)
    measure(connection)
    assert tally(connection) == {"accepted": 3}


def test_what_is_cancelled_stays_accepted_and_counts_once(connection: Connection) -> None:
    first, _ = insert(connection, 1), insert(connection, 2)
    measure(connection)
    connection.execute("SELECT outbox.cancel(%s)", [first])
    while connection.execute("SELECT outbox.sweep(100)").fetchone() != (0,):
        pass
    measure(connection)
    measure(connection)
    assert tally(connection) == {"accepted": 2, "cancelled": 1}


def test_a_dead_letter_stays_accepted_while_it_waits_for_a_person(connection: Connection, frozen: FrozenClock) -> None:
    insert(connection, 1)
    worker = register(connection)
    [lane] = claim(connection, worker, 1).lanes
    connection.execute(
        "SELECT outbox.complete(%s, %s::jsonb)",
        [
            worker,
            f'[{{"bot": "default", "chat_id": "1", "message_id": {lane.message_id}, "attempt": {lane.attempt},'
            ' "outcome": "dead", "meaning": "dead", "reach": "message", "age_s": 0, "error_class": "bad_request"}]',
        ],
    )
    measure(connection)
    assert tally(connection) == {"accepted": 1, "dead": 1}
    connection.execute("SELECT outbox.discard(p_ids => ARRAY[%s]::bigint[])", [lane.message_id])
    measure(connection)
    assert tally(connection) == {"accepted": 1, "dead": 1, "discarded": 1}


def test_a_transaction_that_is_still_open_is_counted_when_it_has_committed(db: Database) -> None:
    with db.connect() as writer, db.connect() as keeper:
        writer.autocommit = False
        writer.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('1', '{\"text\": \"x\"}')")
        measure(keeper)
        assert tally(keeper)["accepted"] == 0
        writer.commit()
        measure(keeper)
        assert tally(keeper)["accepted"] == 1


def test_what_was_accepted_is_never_less(connection: Connection) -> None:
    """A counter that goes back says to a monitor that it began anew: increase() would show all of it."""
    insert(connection, 1)
    insert(connection, 2)
    measure(connection)
    connection.execute("DELETE FROM outbox.message WHERE chat_id = '1'")
    measure(connection)
    assert tally(connection) == {"accepted": 2}
