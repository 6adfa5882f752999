"""Who may do what an operator does, tried by logins that hold one role each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.invariants.calls import Connection, insert, status
from tests.operate.dead_letters import die, operate, unlimited

CALLS = (
    "retry(1)",
    "retry(p_tag => 'x')",
    "discard(1)",
    "discard(p_tag => 'x')",
    "pause('default')",
    "resume('default')",
    "forget('default', 42)",
    "forget('default', '@x')",
    "payload(1)",
    "note_action('x', '{}', 1)",
)
LIFT = ("lift_suppression('default', 42)", "lift_suppression('default', '@x')")


@pytest.mark.parametrize("role", ["outbox_worker", "outbox_reader", "outbox_producer"])
def test_nobody_but_an_admin_may(login: Callable[..., psycopg.Connection[Any]], role: str) -> None:
    connection = login(role)
    for call in CALLS + (() if role == "outbox_producer" else LIFT):
        with pytest.raises(InsufficientPrivilege):
            connection.execute(f"SELECT outbox.{call}")


def test_a_producer_may_say_that_a_user_came_back(login: Callable[..., psycopg.Connection[Any]]) -> None:
    connection = login("outbox_producer")
    for call in LIFT:
        assert connection.execute(f"SELECT outbox.{call}").fetchall() == [(True,)]


def test_an_admin_may_do_all_of_it_and_is_named(db: Any, login: Callable[..., psycopg.Connection[Any]]) -> None:
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
    connection = login("outbox_admin")
    assert connection.execute("SELECT outbox.payload(max(id)) FROM outbox.message").fetchall() == [({"text": "hi"},)]
    for call in CALLS[:-1] + LIFT:
        connection.execute(f"SELECT outbox.{call}")
    assert db.execute("SELECT DISTINCT who FROM outbox.audit") == [(connection.info.user,)]
    audited = {row[0] for row in db.execute("SELECT what FROM outbox.audit")}
    assert audited == {"retry", "discard", "pause", "resume", "forget"}


def test_an_admin_retries_discards_and_forgets(
    connection: Connection, login: Callable[..., psycopg.Connection[Any]]
) -> None:
    unlimited(connection)
    retried, discarded = die(connection, 1, idempotency_key="k"), die(connection, 2)
    waiting = insert(connection, 3)
    admin = login("outbox_admin")
    assert operate(admin, "retry", retried) == operate(admin, "discard", discarded) == 1
    assert operate(admin, "forget", "default", 2) == 2
    assert operate(admin, "forget", "default", 3) == 1
    assert [status(connection, one) for one in (retried, discarded, waiting)] == ["queued", "discarded", "discarded"]
