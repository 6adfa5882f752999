"""outbox.send: an insert as a function, that tells the id also when the idempotency key was used already."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.accept.conftest import Login


def _one(connection: psycopg.Connection[Any], query: str, parameters: Any = None) -> Any:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def test_what_is_left_out_takes_the_columns_defaults(db: Any) -> None:
    with db.connect() as connection:
        sent = _one(connection, """SELECT outbox.send('42', '{"text": "hi"}')""")
        connection.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
        rows = connection.execute(
            "SELECT id, to_jsonb(m) - 'id' - 'created_at' - 'next_attempt_at' - 'correlation_id', created_at ="
            " next_attempt_at, length(correlation_id) FROM outbox.message m ORDER BY id"
        ).fetchall()
    assert rows[0][0] == sent
    assert rows[0][1:] == rows[1][1:]


def test_everything_that_a_producer_may_set_can_be_given(login: Login, db: Any) -> None:
    producer = login("outbox_producer")
    target = _one(producer, "SELECT outbox.send(42, '{}', p_bot => 'default')")
    given = {
        "method": "editMessageText",
        "priority": 1,
        "max_attempts": 3,
        "correlation_id": "c",
        "idempotency_key": "i",
        "collapse_key": "k",
        "on_uncertain": "hold",
        "tag": "t",
        "target_id": target,
    }
    sent = _one(
        producer,
        "SELECT outbox.send(42, '{\"text\": \"b\"}', p_next_attempt_at => now() + '1 h', p_expires_at => now() + '2 h',"
        + ", ".join(f"p_{name} => %({name})s" for name in given)
        + ")",
        given,
    )
    [(row, starts, ends)] = db.execute(
        "SELECT to_jsonb(m), m.next_attempt_at = m.created_at + '1 h', m.expires_at = m.created_at + '2 h'"
        " FROM outbox.message m WHERE id = %s",
        [sent],
    )
    assert {name: row[name] for name in given} == given
    assert (starts, ends) == (True, True)


def test_a_repeated_key_gives_the_first_ones_id_and_stores_nothing(login: Login, db: Any) -> None:
    producer = login("outbox_producer")
    ask = "SELECT outbox.send(42, %s::jsonb, p_idempotency_key => 'order 17', p_bot => 'DEFAULT')"
    first = _one(producer, ask, ['{"text": "a"}'])
    assert _one(producer, ask, ['{"text": "b"}']) == first
    assert db.execute("SELECT payload FROM outbox.message") == [({"text": "a"},)]


def test_a_key_that_another_transaction_holds_is_waited_for(db: Any, waits_for_a_lock: Callable[[int], bool]) -> None:
    ask = "SELECT outbox.send(42, '{}', p_idempotency_key => 'order 17')"
    told: list[int] = []
    with db.connect(autocommit=False) as first, db.connect() as second:
        mine = _one(first, ask)
        waiting = threading.Thread(target=lambda: told.append(_one(second, ask)))
        waiting.start()
        while not waits_for_a_lock(second.info.backend_pid):
            waiting.join(0.01)
        first.commit()
        waiting.join(10)
    assert told == [mine]
    assert db.execute("SELECT count(*) FROM outbox.message") == [(1,)]


def test_300_keys_from_8_sessions_at_once_are_300_messages(db: Any) -> None:
    told: list[tuple[str, int]] = []

    def work(session: int) -> None:
        with db.connect() as connection:
            for turn in range(125):
                key = str((session * 125 + turn * 7) % 300)
                told.append((key, _one(connection, "SELECT outbox.send(42, '{}', p_idempotency_key => %s)", [key])))

    threads = [threading.Thread(target=work, args=[session]) for session in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1000
    assert db.execute("SELECT count(*), count(DISTINCT idempotency_key) FROM outbox.message") == [(300, 300)]
    assert set(told) == {(key, number) for key, number in db.execute("SELECT idempotency_key, id FROM outbox.message")}


@pytest.mark.parametrize("priority", [9, -3, 70000])
def test_bad_input_is_refused_in_the_triggers_words(db: Any, priority: int) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=r"priority -?\d+ does not exist"):
        db.execute("SELECT outbox.send(42, '{}', p_priority => %s)", [priority])
    with pytest.raises(psycopg.errors.CheckViolation, match="payload is missing, not an object"):
        db.execute("SELECT outbox.send(42, NULL)")
    with pytest.raises(psycopg.errors.NotNullViolation, match="chat_id is missing"):
        db.execute("SELECT outbox.send(NULL::text, '{}')")
