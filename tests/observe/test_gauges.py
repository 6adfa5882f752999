"""The numbers of the whole database: each has a name that Python knows, and they are one process's to show."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from outbox.observe.gauges import KEPT_S, KNOWN, DatabaseGauges
from tests.invariants.calls import Connection, claim, insert, register
from tests.invariants.frozen_clock import FrozenClock


def rows(connection: Connection) -> list[Any]:
    return connection.execute("SELECT name, labels, value FROM outbox.gauges()").fetchall()


def values(connection: Connection) -> dict[tuple[str, ...], float]:
    return {(name, *(labels[key] for key in sorted(labels))): value for name, labels, value in rows(connection)}


def measure(connection: Connection) -> None:
    connection.execute("SELECT outbox.measure_queue(), outbox.measure_broadcasts(), outbox.count_astray()")


def test_python_knows_every_number_and_its_labels(connection: Connection) -> None:
    insert(connection, 1)
    connection.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id,"
        " on_uncertain, created_at, scheduled_for, died_at, attempts, calls) VALUES (900, 'default', '9', 'x',"
        " '{}', 2, 'dead', 'x', 'retry', outbox.clock(), outbox.clock(), outbox.clock(), 1, 1)"
    )
    connection.execute("SELECT outbox.measure_queue(), outbox.measure_broadcasts(), outbox.note_duty('measure', NULL)")
    said = {name: set(labels) for name, labels, _ in rows(connection)}
    known = {name: set(one.labels) for name, one in KNOWN.items()}
    workers_only = {"worker_oldest_heartbeat_seconds"}
    assert {name: labels for name, labels in known.items() if name not in workers_only} == said


def test_what_waits_is_what_housekeeping_counted(connection: Connection) -> None:
    insert(connection, 1)
    insert(connection, 2, priority=0)
    assert values(connection)["queue_messages", "default", "2", "due"] == 0
    measure(connection)
    assert values(connection)["queue_messages", "default", "2", "due"] == 1
    assert values(connection)["queue_messages", "default", "0", "due"] == 1
    assert values(connection)["messages_accepted_total", "default", "sendMessage"] == 2


def test_a_pause_is_seen_and_seen_to_end(connection: Connection) -> None:
    assert values(connection)["bot_paused", "default", "operator"] == 0
    connection.execute("SELECT outbox.pause('default')")
    assert values(connection)["bot_paused", "default", "operator"] == 1
    connection.execute("SELECT outbox.resume('default')")
    assert values(connection)["bot_paused", "default", "operator"] == 0


def test_who_keeps_house_shows_them_and_nobody_shows_old_ones(connection: Connection) -> None:
    now = [100.0]
    gauges = DatabaseGauges(now=lambda: now[0])
    registry = CollectorRegistry()
    registry.register(gauges)
    assert b"outbox_limit_messages_per_second" not in generate_latest(registry)
    gauges.take("all", rows(connection))
    assert registry.get_sample_value("outbox_limit_messages_per_second", {"bot": "default"}) == 30
    now[0] += KEPT_S
    assert generate_latest(registry) == b""
    gauges.take("all", rows(connection))
    gauges.drop()
    assert generate_latest(registry) == b""


def test_what_a_newer_database_says_is_left_out() -> None:
    gauges = DatabaseGauges()
    gauges.take("workers", [("new_number", {}, 1.0), ("workers_alive", {"host": "a"}, 1.0), ("workers_alive", {}, 2.0)])
    registry = CollectorRegistry()
    registry.register(gauges)
    assert generate_latest(registry).decode().splitlines()[-1] == "outbox_workers_alive 2.0"


def test_a_counter_that_comes_up_later_begins_at_0() -> None:
    """increase() does not see the first value of a series: a wave of a new class would not be seen."""
    gauges = DatabaseGauges()
    registry = CollectorRegistry()
    registry.register(gauges)
    old = {"bot": "default", "method": "sendMessage", "status": "sent", "error_class": ""}
    new = {"bot": "default", "method": "sendMessage", "status": "dead", "error_class": "bad_request"}
    gauges.take("queue", [("messages_ended_total", old, 70.0)])
    assert registry.get_sample_value("outbox_messages_ended_total", old) == 70
    for shown in (0, 500):
        gauges.take("queue", [("messages_ended_total", old, 80.0), ("messages_ended_total", new, 500.0)])
        assert registry.get_sample_value("outbox_messages_ended_total", new) == shown


def test_a_part_that_could_not_be_read_does_not_cost_the_others() -> None:
    now = [100.0]
    gauges = DatabaseGauges(now=lambda: now[0])
    registry = CollectorRegistry()
    registry.register(gauges)
    gauges.take("workers", [("workers_alive", {}, 1.0)])
    now[0] += KEPT_S - 1
    gauges.take("server", [("database_connections", {}, 3.0)])
    now[0] += 2
    assert registry.get_sample_value("outbox_workers_alive") is None
    assert registry.get_sample_value("outbox_database_connections") == 3


def test_one_process_at_a_time_may_show_them_and_the_next_when_it_has_left(connection: Connection) -> None:
    def may(holder: str) -> bool:
        row = connection.execute("SELECT outbox.may_export(%s)", [holder]).fetchone()
        assert row is not None
        return bool(row[0])

    assert [may("a"), may("b"), may("a")] == [True, False, True]
    connection.execute("SELECT outbox.leave_house('a')")
    assert not may("b")
    connection.execute("SELECT outbox.end_export('a')")
    assert may("b")


def test_chats_that_were_flooded_one_after_another_are_counted_over_a_minute(
    connection: Connection, frozen: FrozenClock
) -> None:
    connection.execute("SELECT outbox.make_partitions()")
    for chat, outcome, retry_after_s in (
        ("1", "wait", 3),
        ("2", "wait", 3),
        ("2", "wait", 3),
        ("3", "uncertain", 8),  # an album's
        ("4", "uncertain", None),
    ):
        frozen.advance(20)
        connection.execute(
            "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome, retry_after_s)"
            " VALUES (1, 1, 'default', %s, outbox.clock(), %s, %s)",
            [chat, outcome, retry_after_s],
        )
    assert values(connection)["flooded_chats", "default"] == 2
    frozen.advance(60)
    assert values(connection)["flooded_chats", "default"] == 0


def test_what_housekeeping_has_not_counted_lately_is_not_counted_for_a_monitor(
    connection: Connection, frozen: FrozenClock
) -> None:
    insert(connection, 1)
    measure(connection)
    assert ("expected_delay_seconds", "default", "2") in values(connection)
    frozen.advance(90)
    assert ("expected_delay_seconds", "default", "2") not in values(connection)
    assert values(connection)["queue_measured_seconds",] == 90


def test_a_breaker_that_probes_after_it_was_open_is_known_from_one_that_probes_after_a_flood(
    connection: Connection,
) -> None:
    connection.execute("UPDATE outbox.bucket SET breaker = 'half_open', breaker_reason = 'flood'")
    assert values(connection)["breaker_openings", "default"] == 0
    connection.execute("UPDATE outbox.bucket SET breaker_reason = 'failures', breaker_opened = 2")
    assert values(connection)["breaker_openings", "default"] == 2


def test_lanes_whose_worker_is_gone_are_on_record_where_a_scrape_does_not_look_for_them(
    connection: Connection, frozen: FrozenClock
) -> None:
    insert(connection, 1)
    claim(connection, register(connection), 1)
    frozen.advance(60)
    connection.execute("SELECT outbox.repair()")
    found = "SELECT found FROM outbox.finding WHERE name = 'lanes_without_worker'"
    assert connection.execute(found).fetchall() == [(0,)], "others may free it still"
    frozen.advance(120)
    connection.execute("SELECT outbox.repair()")
    assert connection.execute(found).fetchall() == [(1,)]


def test_a_worker_without_a_word_is_lost_even_if_another_has_its_name(
    connection: Connection, frozen: FrozenClock
) -> None:
    register(connection)
    frozen.advance(30)
    register(connection)
    assert values(connection)["workers_lost_last_hour",] == 1
    assert values(connection)["workers_alive",] == 1
