"""outbox.pressure against what really happens: a backlog drained slot by slot, probes inserted into it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, insert, register
from tests.invariants.frozen_clock import FrozenClock
from tests.observe.draining import Drain

CRITICAL, HIGH, NORMAL, LOW = range(4)
SHARE = 0.2  # expected_delay_s is true within 20 %
# A turn of claim, whose slots lie up to 100 ms ahead, and half of the rarest event: a low message's reserved slot comes
# every 30 slots.
SLACK_S = {CRITICAL: 0.25, HIGH: 0.6, NORMAL: 0.6, LOW: 0.6}

# name, messages per chat and number of chats by priority, seconds drained before the probes are inserted
BACKLOGS: list[tuple[str, dict[int, list[tuple[int, int]]], float]] = [
    ("a broadcast", {NORMAL: [(1, 500)]}, 1),
    ("a broadcast, measured ten seconds ago", {NORMAL: [(1, 700)]}, 10),
    ("a broadcast of low priority below normal messages", {NORMAL: [(1, 200)], LOW: [(1, 200)]}, 1),
    ("critical messages before everything", {CRITICAL: [(1, 150)], HIGH: [(1, 50)], NORMAL: [(1, 100)]}, 1),
    ("many messages in each chat", {NORMAL: [(6, 100)]}, 1),
    ("many messages in each chat, measured ten seconds ago", {NORMAL: [(8, 100)]}, 10),
    ("few chats that cannot take every slot", {NORMAL: [(40, 15)], LOW: [(1, 150)]}, 1),
    ("chats of every depth", {NORMAL: [(60, 2), (20, 10), (5, 40), (1, 200)], LOW: [(1, 60)]}, 2),
]


def expected(connection: Connection, priority: int) -> float | None:
    row = connection.execute(
        "SELECT expected_delay_s FROM outbox.pressure WHERE bot = 'default' AND priority = %s", [priority]
    ).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def fill(connection: Connection, priority: int, depth: int, chats: int) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority)"
        " SELECT (%(p)s * 1000000 + %(d)s * 10000 + i)::text, '{}', %(p)s"
        "   FROM generate_series(1, %(c)s) i, generate_series(1, %(d)s) ORDER BY random()",
        {"p": priority, "d": depth, "c": chats},
    )


@pytest.mark.parametrize(("backlog", "drained_s"), [x[1:] for x in BACKLOGS], ids=[x[0] for x in BACKLOGS])
def test_the_expected_delay_is_true_within_a_fifth(
    connection: Connection, frozen: FrozenClock, backlog: dict[int, list[tuple[int, int]]], drained_s: float
) -> None:
    connection.execute("SELECT setseed(0.5)")
    for priority, shapes in backlog.items():
        for depth, chats in shapes:
            fill(connection, priority, depth, chats)
    drain = Drain(connection, frozen)
    connection.execute("SELECT outbox.measure_queue()")
    drain.run(drained_s)
    probes = {}
    for priority in (LOW, NORMAL, HIGH, CRITICAL):
        # now() is not the test's clock: said here, the probe is no older than it is.
        probe = insert(connection, 42 + priority, priority=priority, next_attempt_at=frozen.at)
        probes[priority] = (expected(connection, priority), probe, frozen.at)
    drain.run_until_sent(*(message_id for _, message_id, _ in probes.values()))
    figures = {
        priority: (foretold, (drain.slot_at[message_id] - at).total_seconds())
        for priority, (foretold, message_id, at) in probes.items()
    }
    wrong = {
        priority: figure
        for priority, figure in figures.items()
        if figure[0] is None or abs(figure[0] - figure[1]) > SHARE * figure[1] + SLACK_S[priority]
    }
    assert wrong == {}, f"expected and real seconds by priority: {figures}"


def test_what_keeps_coming_counts_and_a_burst_does_not(connection: Connection, frozen: FrozenClock) -> None:
    """Ten critical messages a second leave two thirds of the limit to a low backlog that came at once."""
    drain = Drain(connection, frozen)
    connection.execute("SELECT outbox.measure_queue()")
    chat = iter(range(1_000_000, 2_000_000))

    def keep_coming(_: float) -> None:
        if frozen.at.microsecond % 100_000 < 50_000:
            insert(connection, next(chat), priority=CRITICAL, next_attempt_at=frozen.at)

    drain.run(40, keep_coming)
    fill(connection, LOW, 1, 450)
    drain.run(12, keep_coming)
    foretold = expected(connection, LOW)
    probe = insert(connection, 42, priority=LOW, next_attempt_at=frozen.at)
    inserted_at = frozen.at
    drain.run(45, keep_coming)
    real = (drain.slot_at[probe] - inserted_at).total_seconds()
    assert foretold == pytest.approx(real, rel=SHARE)
    assert real > 5
    assert expected(connection, CRITICAL) < 0.5  # type: ignore[operator]


def test_until_all_is_sent_takes_as_long_as_backlog_s_says(connection: Connection, frozen: FrozenClock) -> None:
    fill(connection, NORMAL, 5, 60)
    fill(connection, HIGH, 1, 60)
    drain = Drain(connection, frozen)
    connection.execute("SELECT outbox.measure_queue()")
    [foretold] = column(connection, "backlog_s", NORMAL)
    ids = [row[0] for row in connection.execute("SELECT id FROM outbox.message").fetchall()]
    begun_at = frozen.at
    drain.run_until_sent(*ids)
    real = (max(drain.slot_at.values()) - begun_at).total_seconds()
    assert foretold == pytest.approx(real, rel=SHARE)


def test_a_pause_adds_to_the_delay_and_is_named(connection: Connection, frozen: FrozenClock) -> None:
    register(connection)
    set_bucket(connection, "paused_until = outbox.clock() + interval '30 s'")
    assert column(connection, "expected_delay_s", NORMAL) == [30]
    assert column(connection, "waits_for", NORMAL) == ["paused"]
    set_bucket(connection, "breaker = 'open', breaker_until = outbox.clock() + interval '40 s'")
    assert column(connection, "expected_delay_s", NORMAL) == [40]
    assert column(connection, "waits_for", NORMAL) == ["breaker open"]


@pytest.mark.parametrize("state", ["stopped", "unauthorised"])
def test_nobody_knows_when_a_bot_goes_on_that_is_stopped(
    connection: Connection, frozen: FrozenClock, state: str
) -> None:
    register(connection)
    set_bucket(connection, f"{state} = true")
    assert column(connection, "expected_delay_s", NORMAL) == [None]
    assert column(connection, "waits_for", NORMAL) == [state]


def test_a_bot_that_no_worker_serves_is_named(connection: Connection, frozen: FrozenClock) -> None:
    assert column(connection, "waits_for", NORMAL) == ["no worker"]
    register(connection)
    assert column(connection, "waits_for", NORMAL) == [None]
    frozen.advance(21)
    assert column(connection, "waits_for", NORMAL) == ["no worker"], "its lease has run out"


def test_a_lease_that_ran_out_while_the_server_was_away_holds_until_its_worker_could_renew_it(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker = register(connection)
    [(started_at,)] = connection.execute("SELECT pg_postmaster_start_time()").fetchall()
    frozen.set(started_at + timedelta(seconds=19))
    connection.execute("UPDATE outbox.worker SET lease_until = %s WHERE id = %s", [started_at, worker])
    assert column(connection, "waits_for", NORMAL) == [None]
    frozen.advance(2)
    assert column(connection, "waits_for", NORMAL) == ["no worker"]


def test_fewer_tokens_in_use_mean_longer_delays(connection: Connection, frozen: FrozenClock) -> None:
    fill(connection, NORMAL, 1, 300)
    before = expected(connection, NORMAL)
    set_bucket(connection, "active_tokens = 15")
    assert expected(connection, NORMAL) == pytest.approx(2 * (before or 0))


def test_without_a_limit_nothing_waits(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, rate=None)
    fill(connection, NORMAL, 1, 300)
    assert expected(connection, LOW) == 0


def test_a_measurement_that_is_a_minute_old_is_not_believed(connection: Connection, frozen: FrozenClock) -> None:
    connection.execute("SELECT outbox.measure_queue()")
    fill(connection, NORMAL, 1, 300)
    assert expected(connection, NORMAL) == 0
    frozen.advance(61)
    assert expected(connection, NORMAL) == pytest.approx(10, rel=0.05)
    assert column(connection, "measured_at", NORMAL) == [None]


def test_a_clock_that_steps_back_makes_it_count_anew(connection: Connection, frozen: FrozenClock) -> None:
    connection.execute("SELECT outbox.measure_queue()")
    fill(connection, NORMAL, 1, 300)
    frozen.advance(-3600)
    assert expected(connection, NORMAL) == pytest.approx(10, rel=0.05)


def test_another_bots_backlog_delays_nothing(connection: Connection, frozen: FrozenClock) -> None:
    add_bot(connection, "other")
    fill(connection, NORMAL, 1, 300)
    connection.execute("SELECT outbox.measure_queue()")
    rows = connection.execute("SELECT bot, expected_delay_s > 1 FROM outbox.pressure WHERE priority = 2 ORDER BY 1")
    assert rows.fetchall() == [("default", True), ("other", False)]


def test_reading_a_fresh_measurement_touches_no_message(connection: Connection, db: Database) -> None:
    fill(connection, NORMAL, 1, 1000)
    connection.execute("SELECT outbox.measure_queue()")
    expected(connection, NORMAL)
    before = reads(connection, db)
    for _ in range(20):
        expected(connection, NORMAL)
    assert reads(connection, db) == before


def test_a_producer_may_ask_before_it_inserts(login: Any, db: Database) -> None:
    producer = login("outbox_producer")
    assert producer.execute("SELECT expected_delay_s FROM outbox.pressure WHERE priority = 3").fetchall() == [(0,)]


def column(connection: Connection, name: str, priority: int) -> list[Any]:
    rows = connection.execute(
        f"SELECT {name} FROM outbox.pressure WHERE bot = 'default' AND priority = %s", [priority]
    ).fetchall()
    return [row[0] for row in rows]


def set_bucket(connection: Connection, what: str) -> None:
    connection.execute(f"UPDATE outbox.bucket SET {what} WHERE bot = 'default'")


def reads(connection: Connection, db: Database) -> Any:
    """Scans of message so far, of either kind."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("SELECT 1")
    return db.execute("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'message'")
