"""A worker that ends while a claim of its own still runs on another connection."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.invariants.calls import Connection, claim, insert, register, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session


def leave(connection: Connection, worker: int) -> None:
    connection.execute("SELECT outbox.leave(%s)", [worker])


def reap(connection: Connection) -> int:
    row = connection.execute("SELECT outbox.reap()").fetchone()
    assert row is not None
    return int(row[0])


def test_lanes_of_a_claim_that_commits_while_its_worker_leaves_are_freed(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    claiming, leaving = open_session(), open_session()
    claim(claiming.begin(), worker)
    goodbye = leaving.start(leave, worker)
    leaving.waits(goodbye)
    claiming.commit()
    goodbye.result()

    frozen.advance(60)
    reap(connection)
    assert status(connection, message_id) == "queued"


def test_a_claim_that_runs_is_left_alone_by_the_reaper(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker, message_id = register(connection), insert(connection, 1)
    claiming = open_session()
    claim(claiming.begin(), worker)
    frozen.advance(60)
    assert reap(connection) == 0
    claiming.commit()
    assert reap(connection) == 1
    assert status(connection, message_id) == "queued"


def test_a_claim_beside_a_running_reaper_takes_nothing_and_asks_again_in_milliseconds(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker = register(connection)
    insert(connection, 1)
    frozen.advance(60)
    reaping = open_session()
    reap(reaping.begin())
    answer = claim(connection, worker)
    assert not answer.lanes
    assert answer.ask_again_s is not None
    assert answer.ask_again_s < 0.05

    reaping.commit()
    with pytest.raises(psycopg.Error, match="has lost its lease") as lost:
        claim(connection, worker)
    assert lost.value.sqlstate == "OB001"
    assert connection.execute("SELECT in_flight FROM outbox.chat WHERE in_flight IS NOT NULL").fetchall() == []
