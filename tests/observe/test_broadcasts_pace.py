"""outbox.broadcasts: how fast a tag moves, and when it will be through."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.invariants.calls import Connection, insert
from tests.invariants.frozen_clock import FrozenClock
from tests.observe.draining import Drain
from tests.observe.test_broadcasts import column, end, measure
from tests.operate.dead_letters import die, unlimited

MEASURE_S = 15.0  # as housekeeping does


def fill(connection: Connection, chats: int, tag: str = "sale", first: int = 1) -> list[int]:
    rows = connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag, priority)"
        " SELECT i::text, '{}', %s, 3 FROM generate_series(%s::int, %s) i RETURNING id",
        [tag, first, first + chats - 1],
    ).fetchall()
    return [row[0] for row in rows]


def test_the_eta_is_true_within_a_twentieth_from_the_fifth_second_on(
    connection: Connection, frozen: FrozenClock
) -> None:
    frozen.set(datetime.now(frozen.at.tzinfo))  # inserts happen now(): the tag is as old as it is
    measure(connection)
    fill(connection, 1500)
    frozen.advance(20)  # nothing moves before a worker comes
    told: list[tuple[datetime, float]] = []

    def look(since_s: float) -> None:
        steps = round(since_s * 20)
        if steps and steps % round(20 * MEASURE_S) == 0:
            measure(connection)
        if steps >= 100 and steps % 40 == 10:
            told.append((frozen.at, column(connection, "eta_s")))

    Drain(connection, frozen).run(48, look)
    through_at = frozen.at + timedelta(seconds=column(connection, "waiting") / 30)
    errors = [abs(eta_s / (through_at - at).total_seconds() - 1) for at, eta_s in told]
    assert len(errors) > 20
    assert max(errors) < 0.05, errors


def test_progress_is_the_share_that_waits_no_longer(connection: Connection) -> None:
    ids = fill(connection, 8)
    assert column(connection, "progress") == 0
    end(connection, *ids[:3])
    end(connection, ids[3], status="dead")
    assert column(connection, "progress") == 0.5
    measure(connection)
    end(connection, *ids[4:], status="cancelled")
    assert column(connection, "progress") == 1


def test_there_is_no_eta_while_nothing_moves_and_none_when_nothing_waits(
    connection: Connection, frozen: FrozenClock
) -> None:
    ids = fill(connection, 40)
    assert column(connection, "eta_s") is None
    for message in ids[:20]:
        end(connection, message)
        frozen.advance(0.5)
    assert column(connection, "eta_s") == pytest.approx(10, rel=0.06)
    assert column(connection, "eta_at") == frozen.at + timedelta(seconds=column(connection, "eta_s"))
    for _ in range(3):
        measure(connection)
        frozen.advance(MEASURE_S)
    assert column(connection, "eta_s") is None, "nothing has moved for 45 s"
    end(connection, *ids[20:])
    assert column(connection, "eta_s") is None
    assert column(connection, "eta_at") is None


def test_a_tag_that_goes_on_after_a_day_is_reckoned_from_when_it_went_on(
    connection: Connection, frozen: FrozenClock
) -> None:
    end(connection, *fill(connection, 50))
    measure(connection)
    frozen.advance(86400)
    measure(connection)
    ids = fill(connection, 400)
    for message in ids[:100]:
        end(connection, message)
        frozen.advance(0.1)
    assert column(connection, "ended_per_s") == pytest.approx(10, rel=0.02)
    measure(connection)
    assert column(connection, "ended_per_s") == pytest.approx(10, rel=0.02)


def test_without_housekeeping_the_pace_is_that_of_the_last_minute(connection: Connection, frozen: FrozenClock) -> None:
    measure(connection)
    ids = fill(connection, 400)
    for message in ids[:100]:
        end(connection, message)
        frozen.advance(1)
    assert column(connection, "ended_per_s") == pytest.approx(1, rel=0.03)
    frozen.advance(61)
    assert column(connection, "ended_per_s") is None


def test_dead_letters_that_a_person_discards_are_no_pace(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    for number in range(5):
        die(connection, 1000 + number, tag="sale")
    ids = fill(connection, 40)
    measure(connection)
    for _ in range(4):
        frozen.advance(MEASURE_S)
        measure(connection)
    for message in ids[:20]:
        end(connection, message)
        frozen.advance(0.5)
    before = column(connection, "ended_per_s")
    connection.execute("SELECT outbox.discard(p_tag => 'sale')")
    assert column(connection, "ended_per_s") == before
    measure(connection)
    assert column(connection, "ended_per_s") == pytest.approx(before, rel=0.1)


def test_a_message_that_dies_is_pace(connection: Connection, frozen: FrozenClock) -> None:
    ids = fill(connection, 40)
    measure(connection)
    for message in ids[:20]:
        end(connection, message, status="dead")
        frozen.advance(0.5)
    assert column(connection, "ended_per_s") == pytest.approx(2, rel=0.1)


def test_a_clock_that_steps_back_breaks_nothing(connection: Connection, frozen: FrozenClock) -> None:
    ids = fill(connection, 10)
    end(connection, *ids[:3])
    measure(connection)
    frozen.advance(-3600)
    end(connection, ids[3])
    for _ in range(2):
        assert column(connection, "sent") == 4
        assert (column(connection, "ended_per_s") or 0) >= 0
        measure(connection)


def test_the_first_and_the_last_moment_of_a_tag_are_kept(connection: Connection, frozen: FrozenClock) -> None:
    first = insert(connection, 1, tag="sale")
    created_at = column(connection, "first_created_at")
    assert column(connection, "last_finished_at") is None
    end(connection, first)
    measure(connection)
    ended_at = frozen.at
    frozen.advance(100)
    insert(connection, 1, tag="sale")
    assert column(connection, "first_created_at") == created_at
    assert column(connection, "last_finished_at") == ended_at
