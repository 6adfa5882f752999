"""The numbers of the whole database: each has a name that Python knows, and they are one process's to show."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from outbox.observe.gauges import KEPT_S, KNOWN, DatabaseGauges
from tests.invariants.calls import Connection, insert


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
    assert values(connection)["messages_accepted_total", "default"] == 2


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
    old = {"bot": "default", "status": "sent", "error_class": ""}
    new = {"bot": "default", "status": "dead", "error_class": "bad_request"}
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
