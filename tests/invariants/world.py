"""The database that random lives play in, and its sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.model import (
    CHAT_INTERVAL_S,
    GROUP_LIMIT,
    GROUP_WINDOW_S,
    MAX_ATTEMPTS,
    RATE,
    ROUND_TRIP_S,
    Message,
    Stop,
)
from tests.invariants.wishes import BOTS

EMPTIED = ("message", "wakeup", "request", "stop", "chat", "attempt", "finished", "dead_letter")
EMPTIED_LAST = ("worker", "bucket", "bot")


@dataclass
class Worker:
    """A process with one connection to claim by."""

    connection: psycopg.Connection[Any]
    incarnation: int | None = None
    settlements: list[dict[str, Any]] = field(default_factory=list)
    frozen: bool = False


@dataclass
class Producer:
    """An application with one transaction at a time."""

    connection: psycopg.Connection[Any]
    isolation: str
    is_open: bool = False
    drafts: list[Message] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)  # messages that it cancelled by id or correlation id
    stops: list[Stop] = field(default_factory=list)
    snapshot: set[int] | None = None  # the messages that it sees waiting, if it sees only these

    def end(self) -> None:
        self.is_open, self.snapshot = False, None
        self.drafts, self.asked, self.stops = [], set(), []


class World:
    """The database and its sessions, used again by every example."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self.happened: Counter[str] = Counter()  # over all examples: a rule that never gets anywhere tests nothing
        self.judge = connect()
        self.clock = FrozenClock(self.judge)
        self.start_at = self.clock.at
        self.producers = [connect() for _ in range(3)]
        self.claimers = [connect() for _ in range(2)]
        self.completing = connect()
        self.slow = connect()
        for connection in (*self.producers, *self.claimers, self.completing, self.slow):
            # One thread plays all sessions: a call that would wait for another session is given up instead.
            connection.execute("SET lock_timeout = '15ms'")
        # So that sweep forgets a tag as soon as nothing can come that it covers, and not by the hour of the run.
        self.judge.execute("ALTER TABLE outbox.stop ALTER requested_at SET DEFAULT outbox.clock() - interval '10 min'")

    def connections(self) -> Iterator[psycopg.Connection[Any]]:
        yield from (self.judge, *self.producers, *self.claimers, self.completing, self.slow)

    def reset(self) -> None:
        """An empty outbox with two bots; cheaper than a new database."""
        for connection in self.connections():
            connection.rollback()
            connection.execute("SELECT setseed(0.5)")
        for table in (*EMPTIED, *EMPTIED_LAST):
            self.judge.execute(f"DELETE FROM outbox.{table}")
        self.judge.execute("ALTER SEQUENCE outbox.message_id_seq RESTART")
        self.clock.set(self.start_at)
        for bot in BOTS:
            self.judge.execute(
                "INSERT INTO outbox.bot (bot, rate, rate_window_s, chat_interval_s, group_limit, group_window_s,"
                " backoff_initial_s, backoff_max_s, max_attempts) VALUES (%s, %s, 1, %s, %s, %s, 1, 3, %s)",
                [bot, RATE[bot], CHAT_INTERVAL_S, GROUP_LIMIT, GROUP_WINDOW_S, MAX_ATTEMPTS],
            )
        # 100 answers were seen, so that the ring reckons with a round trip.
        self.judge.execute(
            "UPDATE outbox.bucket SET round_trip_s = ARRAY[%s, NULL]::float8[], round_trip_answers = '{100,0}',"
            " round_trip_since = outbox.clock()",
            [ROUND_TRIP_S],
        )

    def close(self) -> None:
        for connection in self.connections():
            connection.close()
