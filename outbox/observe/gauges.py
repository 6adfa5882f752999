"""Numbers of the whole database as outbox.gauges() says them: what each is, and those that were read last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

KEPT_S: Final = 60.0  # numbers that could not be read again are shown no longer than that


class Known(NamedTuple):
    """A number that outbox.gauges() says: its help, its labels."""

    text: str
    labels: tuple[str, ...] = ()


KNOWN: Final[Mapping[str, Known]] = {
    "queue_messages": Known("Messages that wait: due, or scheduled for later.", ("bot", "priority", "state")),
    "queue_retrying_messages": Known("Of these, after a failed call.", ("bot", "priority")),
    "queue_oldest_age_seconds": Known("How long the oldest due message waits.", ("bot", "priority")),
    "queue_measured_seconds": Known("How long ago housekeeping counted what waits."),
    "expected_delay_seconds": Known("How long a message inserted now would wait.", ("bot", "priority")),
    "backlog_seconds": Known("Until all that is due at this priority or better is sent.", ("bot", "priority")),
    "messages_accepted_total": Known(
        "Messages written to the outbox since the first count; never less. method: 100 of all bots, then other.",
        ("bot", "method"),
    ),
    "messages_ended_total": Known(
        "Messages that ended, by how; status dead or uncertain: became a dead letter, each time. method: as accepted.",
        ("bot", "method", "status", "error_class"),
    ),
    "limit_messages_per_second": Known("The bot's limit as set; none without one.", ("bot",)),
    "limit_active_messages_per_second": Known("What floods have left of it.", ("bot",)),
    "slots_total": Known("Calls for which the bot's limit gave a slot. An album is one call.", ("bot",)),
    "flooded_chats": Known("Different chats that answered 429 within the last 60 s.", ("bot",)),
    "bot_paused": Known("1: the bot sends nothing, by whose word.", ("bot", "by")),
    "bot_workers": Known("Living workers that serve the bot.", ("bot",)),
    "breaker_openings": Known(
        "How often in a row the breaker opened; 0: it has closed since, or is half-open after a flood only.", ("bot",)
    ),
    "breaker_state": Known("1 for the state that the breaker is in.", ("bot", "state")),
    "breaker_changes_last_hour": Known("How often the breaker went into a state within the last hour.", ("bot", "to")),
    "dead_letters": Known("Messages that need a person, of the newest 100,000.", ("bot", "status", "error_class")),
    "dead_letters_expiring": Known("Dead letters that retention takes within 7 days."),
    "suppressed_chats": Known("Chats that nothing is sent to, because they do not want or do not exist."),
    "suppressed_chats_last_hour": Known("Chats suppressed within the last hour."),
    "suppressed_chats_per_hour_before": Known("Chats suppressed in an hour of the day before, on average."),
    "workers_alive": Known("Workers whose lease runs."),
    "workers_lost_last_hour": Known("Workers that went without a word within the last hour."),
    "worker_oldest_heartbeat_seconds": Known("Age of the oldest heartbeat of a living worker."),
    "lanes_in_flight": Known("Chats with a message on its way. Not shown once outbox.chat is beyond 64 MB."),
    "lanes_without_worker": Known(
        "Of these, chats whose worker is gone. Once outbox.chat is beyond 64 MB: as of the last repair, each 5 min."
    ),
    "housekeeping_age_seconds": Known("How long ago a duty of housekeeping ran.", ("duty",)),
    "housekeeping_failing": Known("1: the duty failed when it ran last.", ("duty",)),
    "wakeups_repaired_total": Known("Missing wakeups that repair had to file; above 0 means a bug."),
    "messages_astray": Known("Messages found in no state, or in two, at the last look; above 0 means a bug."),
    "table_dead_rows": Known("Dead rows that VACUUM has not removed.", ("table",)),
    "table_live_rows": Known("Live rows, as PostgreSQL estimates.", ("table",)),
    "table_bytes": Known("Size with indexes and TOAST.", ("table",)),
    "wakeups_taken_total": Known("Rows deleted from outbox.wakeup, since its statistics began."),
    "snapshot_age_seconds": Known("Age of the oldest transaction of this database that holds a snapshot."),
    "hidden_sessions": Known("Sessions whose transactions the owner of the outbox may not see."),
    "partitions_ahead": Known("Days for which a partition is ready; -1: not even today.", ("table",)),
    "database_connections": Known("Connections of outbox to the database."),
}


class DatabaseGauges(Collector):
    """Shows what was read last of each part; nothing when it is not this process's turn, or when it is too old."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._parts: dict[str, tuple[float, list[Metric]]] = {}
        self._seen: dict[str, set[tuple[str, ...]]] = {}

    def take(self, part: str, rows: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        """Show these rows of outbox.gauges(). What a newer database says and we do not know is left out."""
        families: dict[str, Metric] = {}
        is_first = part not in self._seen
        seen = self._seen.setdefault(part, set())
        for name, labels, value in rows:
            known = KNOWN.get(name)
            if known is None or set(labels) != set(known.labels):
                continue
            family = families.get(name)
            if family is None:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                family = families[name] = kind(f"outbox_{name}", known.text, labels=known.labels)
            values = [str(labels[label]) for label in known.labels]
            series = (name, *values)
            # A counter that comes up while others are shown begins at 0: increase() does not see where it began.
            is_born = name.endswith("_total") and not is_first and series not in seen
            seen.add(series)
            family.add_metric(values, 0.0 if is_born else value)  # type: ignore[attr-defined]
        self._parts[part] = (self._now(), list(families.values()))

    def drop(self) -> None:
        """Another process shows them now."""
        self._parts = {}
        self._seen = {}

    def collect(self) -> Iterator[Metric]:
        for read_s, families in list(self._parts.values()):  # a scrape is another thread than a read
            if self._now() - read_s < KEPT_S:
                yield from families

    def describe(self) -> Iterable[Metric]:
        return []
