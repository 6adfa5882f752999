"""How fast one worker drains a large backlog, without statistics, and beside one chat with 100,000 messages.

The tables were never analysed and autovacuum is off on them. 200,000 messages wait in 200,000 chats, no limit holds.
One worker claims 500 lanes and completes them, over psycopg, without HTTP; the figures are messages per second of
wall-clock time, Python included. `plain` reports the whole run and each fifth of it: it must start fast and stay so.

`one-chat` drains three databases in turns of 10,000 messages, so that a noisy machine slows all three alike: plain,
one where a chat holds 100,000 messages of better priority from one INSERT, and one where they came by 100,000 INSERTs
and so left 100,000 wakeups. It compares what the *other* chats got per second.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.figure import Figure
from bench.noop import NoopWorker
from bench.server import Server, rows

MESSAGES: Final = 200_000
OF_ONE_CHAT: Final = 100_000
ONE_CHAT: Final = "7"
BATCH: Final = 500
TURN: Final = 10_000
LEAST_PER_S: Final = 8_000.0
LEAST_RATIO: Final = 0.9


def open_limits(connection: psycopg.Connection[Any]) -> None:
    """Let the bot send without limits."""
    connection.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0, group_limit = NULL")


def forgo_vacuum(connection: psycopg.Connection[Any]) -> None:
    """Turn autovacuum, and so analysing, off on every table."""
    tables = "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'"
    for (table,) in rows(connection, tables):
        connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())


def insert_others(connection: psycopg.Connection[Any], count: int) -> None:
    """Insert one message for each of `count` chats, in one statement."""
    connection.execute(
        """INSERT INTO outbox.message (chat_id, payload)
           SELECT (1000 + g)::text, '{"text": "hi there"}' FROM generate_series(1, %s) g""",
        [count],
    )


def insert_one_chat(connection: psycopg.Connection[Any], count: int, *, one_by_one: bool) -> None:
    """Insert `count` messages of priority 1 for one chat: in one statement, or each in a transaction of its own."""
    if not one_by_one:
        connection.execute(
            """INSERT INTO outbox.message (chat_id, payload, priority)
               SELECT %s, '{"text": "hi"}', 1 FROM generate_series(1, %s)""",
            [ONE_CHAT, count],
        )
        return
    connection.execute("SET synchronous_commit = off")
    connection.execute(
        f"""DO $$ BEGIN FOR i IN 1 .. {count} LOOP
                INSERT INTO outbox.message (chat_id, payload, priority) VALUES ('{ONE_CHAT}', '{{"text": "hi"}}', 1);
                COMMIT;
            END LOOP; END $$""".encode()
    )
    connection.execute("RESET synchronous_commit")


@dataclass
class Drain:
    """One database being drained; only what went to other chats than ONE_CHAT counts."""

    worker: NoopWorker
    took_s: float = 0.0
    others: int = 0
    course: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])

    def go_on(self, until: int) -> None:
        """Drain until so many messages went to the others, or nothing is left."""
        started_s = time.perf_counter() - self.took_s
        while self.others < until:
            chats = self.worker.turn()
            self.took_s = time.perf_counter() - started_s
            if not chats:
                break
            self.others += sum(chat != ONE_CHAT for chat in chats)
            self.course.append((self.took_s, self.others))

    def per_s(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return messages to others per second between two shares of the run."""
        first = next(at for at in self.course if at[1] >= low * self.others)
        last = next(at for at in self.course if at[1] >= high * self.others)
        return (last[1] - first[1]) / (last[0] - first[0])


def _plain(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("plain") as url, psycopg.connect(url, autocommit=True) as connection:
        open_limits(connection)
        forgo_vacuum(connection)
        insert_others(connection, size.of(MESSAGES, 5_000))
        drain = Drain(NoopWorker(connection, BATCH))
        drain.go_on(size.of(MESSAGES, 5_000))
    yield Figure("one worker, batches of 500", drain.per_s(), "msg/s", at_least=LEAST_PER_S)
    for fifth in range(5):
        rate = drain.per_s(fifth / 5, (fifth + 1) / 5)
        yield Figure(f"one worker, batches of 500, fifth {fifth + 1}", rate, "msg/s", at_least=LEAST_PER_S)


def _one_chat(server: Server, size: Size) -> Iterator[Figure]:
    others, of_one_chat = size.of(MESSAGES, 5_000), size.of(OF_ONE_CHAT, 1_000)
    drains: dict[str, Drain] = {}
    with contextlib.ExitStack() as stack:
        for label in ("plain", "one_insert", "many_inserts"):
            url = stack.enter_context(server.database(label))
            with psycopg.connect(url, autocommit=True) as connection:
                open_limits(connection)
                forgo_vacuum(connection)
                if label != "plain":
                    insert_one_chat(connection, of_one_chat, one_by_one=label == "many_inserts")
                insert_others(connection, others)
            # The worker's session is a fresh one: what inserted has warmer caches.
            worker = NoopWorker(stack.enter_context(psycopg.connect(url, autocommit=True)), BATCH)
            drains[label] = Drain(worker)
        for until in range(TURN, others + TURN, TURN):
            for drain in drains.values():
                drain.go_on(min(until, others))
    plain = drains["plain"].per_s()
    yield Figure("plain, in turns", plain, "msg/s")
    for label, words in (("one_insert", "one INSERT"), ("many_inserts", "100,000 INSERTs")):
        rate = drains[label].per_s()
        yield Figure(f"others beside 100,000 of {words}", rate, "msg/s")
        yield Figure(f"others beside 100,000 of {words} / plain", rate / plain, "ratio", at_least=LEAST_RATIO)
        yield Figure(f"others beside 100,000 of {words}, first fifth", drains[label].per_s(0, 0.2), "msg/s")


CASES: Final[dict[str, Case]] = {"plain": _plain, "one-chat": _one_chat}
