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
    gauges.take(rows(connection))
    assert registry.get_sample_value("outbox_limit_messages_per_second", {"bot": "default"}) == 30
    now[0] += KEPT_S
    assert generate_latest(registry) == b""
    gauges.take(rows(connection))
    gauges.drop()
    assert generate_latest(registry) == b""


def test_what_a_newer_database_says_is_left_out() -> None:
    gauges = DatabaseGauges()
    gauges.take([("new_number", {}, 1.0), ("workers_alive", {"host": "a"}, 1.0), ("workers_alive", {}, 2.0)])
    registry = CollectorRegistry()
    registry.register(gauges)
    assert generate_latest(registry).decode().splitlines()[-1] == "outbox_workers_alive 2.0"
