"""A producer asks where its message stands, and is told when it ends."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.accept.conftest import Login
from tests.invariants.calls import claim, finish, register


def _status(connection: psycopg.Connection[Any], message_id: int) -> str:
    row = connection.execute("SELECT status FROM outbox.status(%s)", [message_id]).fetchone()
    assert row is not None
    return str(row[0])


def _send(connection: psycopg.Connection[Any], **options: object) -> int:
    row = connection.execute("SELECT outbox.send(42, '{}')").fetchone()
    assert row is not None
    return int(row[0])


def _rings(connection: psycopg.Connection[Any], timeout_s: float = 5) -> list[str]:
    return [ring.payload for ring in connection.notifies(timeout=timeout_s, stop_after=1)]


def test_a_producer_sees_its_message_queued_sending_and_sent(login: Login, db: Any) -> None:
    producer = login("outbox_producer")
    message_id = _send(producer)
    assert _status(producer, message_id) == "queued"
    with db.connect() as worker_session:
        worker = register(worker_session)
        lanes = claim(worker_session, worker).lanes
        assert _status(producer, message_id) == "sending"
        finish(worker_session, worker, lanes)
    row = producer.execute("SELECT * FROM outbox.status(%s)", [message_id]).fetchone()
    assert row is not None
    assert row[0] == "sent"
    assert row[3] is not None


def test_a_message_that_nobody_knows_is_unknown(login: Login) -> None:
    assert _status(login("outbox_producer"), 4711) == "unknown"


@pytest.mark.parametrize("asked", ["17", "p_tag => 'news'"])
def test_status_says_that_a_cancel_was_asked_for(login: Login, asked: str) -> None:
    producer = login("outbox_producer")
    row = producer.execute("SELECT outbox.send(42, '{}', p_tag => 'news')").fetchone()
    assert row is not None
    [message_id] = row
    asked = asked.replace("17", str(message_id))
    for expected in (False, True):
        found = producer.execute("SELECT cancel_requested FROM outbox.status(%s)", [message_id]).fetchone()
        assert found == (expected,)
        producer.execute(f"SELECT outbox.cancel({asked})")


def test_who_watches_a_message_hears_of_its_end_once(login: Login, db: Any) -> None:
    producer = login("outbox_producer")
    message_id, other = _send(producer), _send(producer)
    producer.execute("LISTEN outbox_ended")
    for _ in range(2):
        row = producer.execute("SELECT status FROM outbox.watch(%s, 30)", [message_id]).fetchone()
        assert row == ("queued",)
    with db.connect() as session:
        worker = register(session)
        finish(session, worker, claim(session, worker).lanes)
    assert _rings(producer) == [str(message_id)]
    assert _rings(producer, 0.2) == []
    assert _status(producer, other) == "queued"
    assert db.execute("SELECT count(*) FROM outbox.watch") == [(0,)]


def test_a_message_that_is_cancelled_rings_too(login: Login, db: Any) -> None:
    producer = login("outbox_producer")
    message_id = _send(producer)
    producer.execute("LISTEN outbox_ended")
    producer.execute("SELECT outbox.watch(%s, 30)", [message_id])
    producer.execute("SELECT outbox.cancel(%s)", [message_id])
    db.execute("SELECT outbox.sweep() FROM generate_series(1, 2)")
    assert _rings(producer) == [str(message_id)]


def test_nobody_is_rung_for_when_nobody_watches(login: Login, db: Any) -> None:
    producer = login("outbox_producer")
    _send(producer)
    producer.execute("LISTEN outbox_ended")
    with db.connect() as session:
        worker = register(session)
        finish(session, worker, claim(session, worker).lanes)
    assert _rings(producer, 0.2) == []


def test_a_watch_that_ran_out_is_swept_away(db: Any, clock: Any) -> None:
    db.execute("SELECT outbox.watch(outbox.send(42, '{}'), 30)")
    db.execute("SELECT outbox.sweep()")
    assert db.execute("SELECT count(*) FROM outbox.watch") == [(1,)]
    clock.advance(31)
    db.execute("SELECT outbox.sweep()")
    assert db.execute("SELECT count(*) FROM outbox.watch") == [(0,)]


def test_who_asks_again_and_again_leaves_no_pile_of_rows_and_what_has_ended_none(db: Any) -> None:
    db.execute("SELECT outbox.watch(outbox.send(42, '{}'), 30)")
    for _ in range(20):
        db.execute("SELECT outbox.watch(1, 30)")
    db.execute("SELECT outbox.watch(4711, 30)")
    assert db.execute("SELECT message_id, count(*) FROM outbox.watch GROUP BY 1") == [(1, 1)]


def test_a_watch_without_end_is_refused(db: Any) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cannot watch message 1 for 1000000000 s"):
        db.execute("SELECT outbox.watch(1, 1e9)")
