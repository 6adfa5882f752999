"""shape: what waits, by age and by what one asks for."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, insert
from tests.invariants.frozen_clock import FrozenClock
from tests.observe.filled import fill_history

AGES_S = (0, 9, 10, 59, 60, 299, 300, 899, 900, 3599, 3600, 21599, 21600, 86399, 86400, 10**7)


def shape(connection: Connection, by: str) -> dict[str, tuple[int, int, list[int]]]:
    rows = connection.execute("SELECT name, total, scheduled, ages FROM outbox.shape(%s)", [by]).fetchall()
    return {name: (total, scheduled, ages) for name, total, scheduled, ages in rows}


def test_each_age_is_counted_in_its_column_and_what_is_not_due_apart(
    connection: Connection, frozen: FrozenClock
) -> None:
    for age_s in AGES_S:
        insert(connection, 1, next_attempt_at=frozen.at - timedelta(seconds=age_s))
    insert(connection, 1, next_attempt_at=frozen.at + timedelta(seconds=1))
    assert shape(connection, "priority") == {"2": (17, 1, [2] * 8)}


def test_the_columns_say_who_waits(connection: Connection) -> None:
    add_bot(connection, "alerts")
    insert(connection, 1, priority=0, tag="sale")
    insert(connection, -100, priority=3, tag="sale", bot="alerts")
    insert(connection, -1001234567890, priority=3)
    insert(connection, "@news", priority=3)
    assert {name: row[0] for name, row in shape(connection, "priority").items()} == {"0": 1, "3": 3}
    assert {name: row[0] for name, row in shape(connection, "bot").items()} == {"default": 3, "alerts": 1}
    assert {name: row[0] for name, row in shape(connection, "tag").items()} == {"sale": 2, "(none)": 2}
    assert {name: row[0] for name, row in shape(connection, "chat_kind").items()} == {
        "private": 1,
        "group": 2,
        "channel-or-name": 1,
    }


def test_of_many_the_50_largest_are_shown_and_the_rest_as_one(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT '1', '{}', 'tag ' || i FROM generate_series(1, 60) i CROSS JOIN generate_series(i, 60)"
    )
    rows = shape(connection, "tag")
    assert len(rows) == 51
    assert next(iter(rows)) == "tag 1"
    assert rows["(others)"][0] == sum(range(1, 11))
    assert sum(total for total, _, _ in rows.values()) == 60 * 61 / 2


def test_an_empty_queue_has_no_shape(connection: Connection) -> None:
    assert shape(connection, "priority") == {}


def test_what_one_cannot_ask_for_is_refused(connection: Connection) -> None:
    for by in ("chat", None):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="no shape by"):
            connection.execute("SELECT outbox.shape(%s)", [by])


def test_the_sum_is_the_depth(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=0, waiting=2000, chats=10)
    for by in ("priority", "bot", "tag", "chat_kind"):
        rows = shape(connection, by).values()
        assert sum(total for total, _, _ in rows) == 2000
        assert all(total == scheduled + sum(ages) for total, scheduled, ages in rows)
        assert sum(scheduled for _, scheduled, _ in rows) > 0
