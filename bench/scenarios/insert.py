"""How fast messages are accepted, by every way to insert them, and what the triggers take of it; who waits for whom.

`paths`: two databases take turns, one as it is and one whose triggers are off. Each path inserts its rows into an empty
table, three times in each database; the figures are the medians. One row per transaction goes over psycopg with a
commit each, from 1 session and from 8; `executemany` and a loop put their rows into one transaction; `enqueue_many` is
one call of the library, its messages made before; INSERT … SELECT and COPY are PostgreSQL's own. The triggers' share is
the part of the time that the database without them did not need.

`same-chat`: 16 sessions insert one row per transaction, all to one chat, while another session looks for waits as fast
as it can and each tells of its own; that the eyes see is shown first, on two sessions that do lock one row. `keys`:
1,000 inserts from 8 sessions with 300 idempotency keys between them.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg

import outbox
from bench.case import Case, Size
from bench.figure import Figure
from bench.lock_waits import GROWS, LockWaits, watching_lock_waits
from bench.server import Server, number

ROUNDS: Final = 3
SESSIONS: Final = 8
TOGETHER: Final = 16
BULK_PER_S: Final = 40_000.0
SINGLE_PER_S: Final = 2_000.0
_ONE: Final = "INSERT INTO outbox.message (chat_id, payload) VALUES (%s, %s)"
_KEYED: Final = "INSERT INTO outbox.message (chat_id, payload, idempotency_key) VALUES (%s, %s, %s)"
_SELECT: Final = """
    INSERT INTO outbox.message (chat_id, payload)
    SELECT g::text, jsonb_build_object('text', 'Your order ' || g || ' is on its way') FROM generate_series(1, %s) g
"""
_COPY: Final = "COPY outbox.message (chat_id, payload) FROM STDIN"
_EMPTY: Final = "TRUNCATE outbox.message, outbox.wakeup, outbox.idempotency"

Path = Callable[[str, int], float]
"""Inserts so many rows into the database at a URL; returns the seconds it took."""


def _text(number_: int) -> str:
    return json.dumps({"text": f"Your order {number_} is on its way"})


def _single(sessions: int) -> Path:
    def insert(url: str, rows: int) -> float:
        def work(session: int) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                start.wait()
                for chat in range(1 + session, 1 + rows, sessions):
                    connection.execute(_ONE, (str(chat), _text(chat)))
                end.wait()

        start, end = threading.Barrier(sessions + 1), threading.Barrier(sessions + 1)
        with ThreadPoolExecutor(sessions) as threads:
            working = [threads.submit(work, session) for session in range(sessions)]
            start.wait()
            started_s = time.perf_counter()
            end.wait()
            took_s = time.perf_counter() - started_s
            for one in working:
                one.result()
        return took_s

    return insert


def _timed(insert: Callable[[psycopg.Connection[Any], Any], object], prepare: Callable[[int], Any]) -> Path:
    """In one transaction, over a connection that is open already; what `prepare` makes of the rows is not timed."""

    def path(url: str, rows: int) -> float:
        given = prepare(rows)
        with psycopg.connect(url) as connection:
            connection.execute("SELECT")
            connection.commit()
            started_s = time.perf_counter()
            insert(connection, given)
            connection.commit()
            return time.perf_counter() - started_s

    return path


def _pairs(rows: int) -> list[tuple[str, str]]:
    return [(str(chat), _text(chat)) for chat in range(1, rows + 1)]


def _loop(connection: psycopg.Connection[Any], pairs: list[tuple[str, str]]) -> None:
    for pair in pairs:
        connection.execute(_ONE, pair)


def _executemany(connection: psycopg.Connection[Any], pairs: list[tuple[str, str]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(_ONE, pairs)


def _messages(rows: int) -> list[outbox.Message]:
    return [outbox.Message(chat, {"text": f"Your order {chat} is on its way"}) for chat in range(1, rows + 1)]


def _enqueue_many(connection: psycopg.Connection[Any], messages: list[outbox.Message]) -> None:
    outbox.enqueue_many(connection, messages)


def _insert_select(connection: psycopg.Connection[Any], rows: int) -> None:
    connection.execute(_SELECT, [rows])


def _copy(connection: psycopg.Connection[Any], pairs: list[tuple[str, str]]) -> None:
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for pair in pairs:
            copy.write_row(pair)


PATHS: Final[tuple[tuple[str, int, Path, float | None], ...]] = (
    ("a row per commit, 1 session", 2_000, _single(1), None),
    (f"a row per commit, {SESSIONS} sessions", 8_000, _single(SESSIONS), SINGLE_PER_S),
    ("rows in one transaction, a loop", 10_000, _timed(_loop, _pairs), None),
    ("rows in one transaction, executemany", 20_000, _timed(_executemany, _pairs), None),
    ("enqueue_many, one call", 100_000, _timed(_enqueue_many, _messages), BULK_PER_S),
    ("INSERT … SELECT", 100_000, _timed(_insert_select, int), BULK_PER_S),
    ("COPY", 100_000, _timed(_copy, _pairs), BULK_PER_S),
)


def _paths(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("insert") as ours, server.database("bare") as bare:
        with psycopg.connect(bare, autocommit=True) as connection:
            connection.execute("ALTER TABLE outbox.message DISABLE TRIGGER USER")
        for name, rows, path, least in PATHS:
            count = size.of(rows, 200)
            took_s: dict[str, list[float]] = {ours: [], bare: []}
            for _ in range(ROUNDS):
                for url, times_s in took_s.items():
                    _empty(server, url)
                    times_s.append(path(url, count))
                    _expect(url, count)
            ours_s, bare_s = (statistics.median(times_s) for times_s in took_s.values())
            yield Figure(name, count / ours_s, "rows/s", at_least=least)
            yield Figure("  the same without triggers", count / bare_s, "rows/s")
            yield Figure("  the triggers' share of the time", 1 - bare_s / ours_s, "share")


def _empty(server: Server, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_EMPTY)
    with server.connect() as outside:
        # A checkpoint in the middle would be somebody's bad luck.
        outside.execute("CHECKPOINT")


def _expect(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        found = number(connection, "SELECT count(*) FROM outbox.message")
    if found != rows:
        raise RuntimeError(f"{found:.0f} rows were inserted instead of {rows}")


def insert_together(url: str, rows_each: int, sessions: int = TOGETHER) -> tuple[LockWaits, float]:
    """Let sessions insert to one chat at the same time; return the waits that were seen, and rows per second."""

    def work() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            waits.listen_to(connection)
            start.wait()
            for row in range(rows_each):
                connection.execute(_ONE, ("42", _text(row)))

    start = threading.Barrier(sessions)
    with watching_lock_waits(url) as waits, ThreadPoolExecutor(sessions) as threads:
        started_s = time.perf_counter()
        for one in [threads.submit(work) for _ in range(sessions)]:
            one.result()
        took_s = time.perf_counter() - started_s
    return waits, sessions * rows_each / took_s


def lock_one_row(url: str) -> LockWaits:
    """Let two sessions lock the same row: what is seen here is what would be seen of writers that wait."""

    def work(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT FROM outbox.bot FOR UPDATE")
        connection.rollback()

    with watching_lock_waits(url) as waits, psycopg.connect(url) as one, psycopg.connect(url) as other:
        waits.listen_to(other)
        one.execute("SELECT FROM outbox.bot FOR UPDATE")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(work, other)
            time.sleep(0.2)
            one.rollback()
            waiting.result()
    return waits


def repeat_keys(url: str, inserts: int, keys: int, sessions: int = SESSIONS) -> int:
    """Insert with a few keys from several sessions at once; return how many rows there are."""

    def work(session: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            start.wait()
            for turn in range(session, inserts, sessions):
                connection.execute(_KEYED, (str(1 + turn), _text(turn), f"key {turn % keys}"))

    start = threading.Barrier(sessions)
    with ThreadPoolExecutor(sessions) as threads:
        for one in [threads.submit(work, session) for session in range(sessions)]:
            one.result()
    with psycopg.connect(url, autocommit=True) as connection:
        return int(number(connection, "SELECT count(*) FROM outbox.message"))


def _same_chat(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("samechat") as url:
        control = lock_one_row(url)
        yield Figure("waits seen where two lock one row", control.seen.total(), "", at_least=1)
        yield Figure("waits told where two lock one row", control.told.total(), "", at_least=1)
        waits, per_s = insert_together(url, size.of(1_000, 50))
    yield Figure(f"{TOGETHER} sessions, one chat: waits for each other", waits.between_writers(), "", at_most=0)
    yield Figure("  waits for the table's file to grow", waits.seen[GROWS] + waits.told[GROWS], "")
    yield Figure("  looks", waits.looks, "")
    yield Figure("  a row per commit, watched", per_s, "rows/s")


def _keys(server: Server, size: Size) -> Iterator[Figure]:
    with server.database("keys") as url:
        rows = repeat_keys(url, 1_000, 300)
    yield Figure("rows of 1,000 inserts with 300 keys from 8 sessions", rows, "", at_least=300, at_most=300)


CASES: Final[dict[str, Case]] = {"paths": _paths, "same-chat": _same_chat, "keys": _keys}
