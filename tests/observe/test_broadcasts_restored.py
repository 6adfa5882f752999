"""outbox.broadcasts in a database that was restored elsewhere: its rows bear another server's transaction numbers."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, insert
from tests.invariants.frozen_clock import FrozenClock
from tests.observe.test_broadcasts import broadcast, end, measure, rows_read


def restore(connection: Connection, frozen: FrozenClock, ahead: int) -> None:
    """Make everything look as a dump of a server `ahead` transactions ahead would: a minute ago it was still there."""
    connection.execute(f"UPDATE outbox.finished SET xid = (xid::text::bigint + {ahead})::text::xid8")
    connection.execute(
        f"UPDATE outbox.broadcast_mark SET measured_xid = (measured_xid::text::bigint + {ahead})::text::xid8"
    )
    frozen.advance(60)


def deliver_first(connection: Connection, frozen: FrozenClock) -> None:
    """Let the first worker's start make the database remember who it is."""
    connection.execute("SELECT outbox.check_identity('production', '{}')")
    frozen.advance(1)


def adopt(connection: Connection, frozen: FrozenClock) -> None:
    """Let an operator say that this database is the one that delivers from now on."""
    connection.execute("SELECT outbox.adopt('copy', '{}', false)")
    frozen.advance(1)


def use_up_numbers(connection: Connection, count: int) -> None:
    for _ in range(count):
        connection.execute("SELECT pg_current_xact_id()")


@pytest.fixture
def restored(connection: Connection, frozen: FrozenClock) -> Connection:
    """Three were counted and two were not when the dump was made; one waits. Its numbers are 40 ahead of ours."""
    deliver_first(connection, frozen)
    ids = [insert(connection, 1 + i, tag="sale") for i in range(6)]
    end(connection, *ids[:3])
    measure(connection)
    end(connection, *ids[3:5], status="expired")
    restore(connection, frozen, 40)
    return connection


def test_before_it_is_adopted_the_view_is_right_and_nothing_is_counted(restored: Connection) -> None:
    assert broadcast(restored) == {"sent": 3, "expired": 2, "waiting": 1}
    assert measure(restored) == 0
    assert broadcast(restored) == {"sent": 3, "expired": 2, "waiting": 1}


def test_afterwards_it_is_right_while_our_own_numbers_pass_the_foreign_ones(
    restored: Connection, frozen: FrozenClock
) -> None:
    adopt(restored, frozen)
    assert broadcast(restored) == {"sent": 3, "expired": 2, "waiting": 1}
    expected = {"sent": 3, "expired": 2, "waiting": 1}
    for _ in range(12):
        end(restored, insert(restored, 99, tag="sale"))
        frozen.advance(15)
        expected["sent"] += 1
        assert broadcast(restored) == expected
        measure(restored)
        assert broadcast(restored) == expected
        use_up_numbers(restored, 10)


def test_once_counted_what_was_restored_costs_nothing(
    db: Database, connection: Connection, frozen: FrozenClock
) -> None:
    deliver_first(connection, frozen)
    end(connection, *(insert(connection, 1, tag="sale") for _ in range(300)))
    measure(connection)
    restore(connection, frozen, 1_000_000)
    adopt(connection, frozen)
    measure(connection)
    broadcast(connection)  # the first of a session looks at the catalogue
    before = rows_read(db, connection)
    assert broadcast(connection) == {"sent": 300}
    assert rows_read(db, connection) - before <= 5


def test_a_dump_of_a_younger_server_is_right_too(connection: Connection, frozen: FrozenClock) -> None:
    deliver_first(connection, frozen)
    ids = [insert(connection, 1 + i, tag="sale") for i in range(4)]
    end(connection, *ids[:2])
    measure(connection)
    end(connection, ids[2])
    restore(connection, frozen, -300)
    assert broadcast(connection) == {"sent": 3, "waiting": 1}
    adopt(connection, frozen)
    end(connection, ids[3])
    for _ in range(2):
        assert broadcast(connection) == {"sent": 4}
        measure(connection)


def test_an_adoption_without_a_restore_changes_no_count(connection: Connection, frozen: FrozenClock) -> None:
    """A new label of the environment, or pg_upgrade: the numbers stay our own."""
    deliver_first(connection, frozen)
    ids = [insert(connection, 1 + i, tag="sale") for i in range(4)]
    end(connection, ids[0])
    measure(connection)
    end(connection, ids[1])
    frozen.advance(1)
    adopt(connection, frozen)
    end(connection, ids[2])
    for _ in range(2):
        assert broadcast(connection) == {"sent": 3, "waiting": 1}
        measure(connection)
