"""A day whose partition nobody made must not stop complete: rows go to the default one."""

from __future__ import annotations

import pytest

from tests.invariants.calls import Connection, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock

BEYOND_THE_LAST_S = 20 * 86_400  # partitions are made 14 days ahead


@pytest.mark.parametrize(("outcome", "ends"), [("sent", "sent"), ("retry", "queued"), ("dead", "dead")])
def test_complete_works_on_a_day_without_a_partition(
    connection: Connection, frozen: FrozenClock, outcome: str, ends: str
) -> None:
    frozen.advance(BEYOND_THE_LAST_S)
    worker, message_id = register(connection), insert(connection, 1, next_attempt_at=frozen.at)
    assert finish(connection, worker, claim(connection, worker).lanes, outcome) == 1
    assert status(connection, message_id) == ends
    rows = connection.execute("SELECT tableoid::regclass::text, outcome FROM outbox.attempt").fetchall()
    assert rows == [("outbox.attempt_default", outcome)]
    assert broken(connection) == []


def test_an_answer_from_before_the_oldest_partition_is_recorded(connection: Connection, frozen: FrozenClock) -> None:
    """A spool that lay on a disk for months."""
    worker, message_id = register(connection), insert(connection, 1)
    lanes = claim(connection, worker).lanes
    assert finish(connection, worker, lanes, age_s=200 * 86_400) == 1
    assert status(connection, message_id) == "sent"
