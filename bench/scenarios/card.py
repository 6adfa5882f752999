"""The literal claim (bench/literal.sql) beside outbox.claim: milliseconds per claim of 8 lanes. For decision 0001.

Three backlogs: 1,000,000 rows over 300 chats; 100,000 rows of one chat that cools, older and of better priority than
20,000 rows of 300 others; and 1,000,000 rows of such a chat. Both claims run on copies of one database, after VACUUM
ANALYZE, in turns. They go on at a bot's pace, 8 lanes every 267 ms, and every lane is completed as sent, so that
chats cool for a second like in production; the bot's own limit is off, because slots would give only 3 lanes a claim.
The figures are medians (and p90) of wall-clock time around the call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.figure import Figure, percentile
from bench.noop import NoopWorker, register, sent
from bench.server import Server

LANES: Final = 8
PACE_S: Final = LANES / 30
CLAIMS: Final = 75
CHATS: Final = 300
LITERAL: Final = Path(__file__).resolve().parent.parent / "literal.sql"


class LiteralWorker:
    """Claims by the literal query, completes like anybody."""

    def __init__(self, connection: psycopg.Connection[Any], batch: int) -> None:
        self._connection = connection
        self._batch = batch
        self._worker = register(connection)
        self.claim_s = 0.0

    def turn(self) -> list[str]:
        """Claim a batch and complete it; return the chats it went to."""
        asked_s = time.perf_counter()
        lanes = self._connection.execute(
            "SELECT bot, chat_id, message_id, attempt, method, payload::text"
            " FROM outbox.literal_claim(%s::bigint, 'default', %s::int)",
            (self._worker, self._batch),
        ).fetchall()
        self.claim_s = time.perf_counter() - asked_s
        results = json.dumps([sent(*lane[:4]) for lane in lanes])
        self._connection.execute("SELECT outbox.complete(%s::bigint, %s::jsonb)", (self._worker, results))
        return [lane[1] for lane in lanes]


def _even(connection: psycopg.Connection[Any], size: Size) -> None:
    _insert(connection, size.of(1_000_000, 3_000), CHATS)


def _behind_one_chat(rows: int) -> Callable[[psycopg.Connection[Any], Size], None]:
    def insert(connection: psycopg.Connection[Any], size: Size) -> None:
        connection.execute(
            """INSERT INTO outbox.message (chat_id, payload, priority, next_attempt_at)
               SELECT '7', '{"text": "hi"}', 1, now() - interval '1 h' FROM generate_series(1, %s)""",
            [size.of(rows, 1_000)],
        )
        _insert(connection, 20_000, CHATS)
        connection.execute(
            "INSERT INTO outbox.chat (chat_id, bot, next_send_at) VALUES ('7', 'default', now() + interval '1 h')"
        )

    return insert


def _insert(connection: psycopg.Connection[Any], rows: int, chats: int) -> None:
    connection.execute(
        """INSERT INTO outbox.message (chat_id, payload)
           SELECT (1000 + g %% %s)::text, '{"text": "hi there"}' FROM generate_series(1, %s) g""",
        [chats, rows],
    )


def _compare(words: str, insert: Callable[[psycopg.Connection[Any], Size], None]) -> Case:
    def measure(server: Server, size: Size) -> Iterator[Figure]:
        with server.database("ours") as ours_url:
            with psycopg.connect(ours_url, autocommit=True) as connection:
                connection.execute("UPDATE outbox.bot SET rate = NULL")
                connection.execute(LITERAL.read_bytes())
                insert(connection, size)
                connection.execute("VACUUM ANALYZE")
            with server.copy(ours_url, "literal") as literal_url:
                ours_ms, literal_ms = _take_turns(ours_url, literal_url, size.of(CLAIMS, 10))
        for name, times_ms in (("literal", literal_ms), ("ours", ours_ms)):
            yield Figure(f"{words}: {name}, p50", percentile(times_ms, 0.5), "ms/claim")
            yield Figure(f"{words}: {name}, p90", percentile(times_ms, 0.9), "ms/claim")

    return measure


def _take_turns(ours_url: str, literal_url: str, claims: int) -> tuple[list[float], list[float]]:
    with (
        psycopg.connect(ours_url, autocommit=True) as one,
        psycopg.connect(literal_url, autocommit=True) as other,
    ):
        workers: tuple[NoopWorker | LiteralWorker, ...] = (NoopWorker(one, LANES), LiteralWorker(other, LANES))
        # The index is the literal query's; outbox does without.
        one.execute("DROP INDEX outbox.message_literal")
        times_ms: tuple[list[float], list[float]] = ([], [])
        next_s = time.monotonic()
        for number in range(claims + 5):
            next_s += PACE_S
            for worker, taken_ms in zip(workers, times_ms, strict=True):
                lanes = worker.turn()
                if len(set(lanes)) != LANES:
                    raise RuntimeError(f"{type(worker).__name__} claimed {len(set(lanes))} lanes of {LANES}")
                if number >= 5:  # plans and caches of this connection
                    taken_ms.append(1000 * worker.claim_s)
            time.sleep(max(0.0, next_s - time.monotonic()))
        return times_ms


CASES: Final[dict[str, Case]] = {
    "even": _compare("1 M rows over 300 chats", _even),
    "100k": _compare("100 k rows behind one chat", _behind_one_chat(100_000)),
    "1m": _compare("1 M rows behind one chat", _behind_one_chat(1_000_000)),
}
