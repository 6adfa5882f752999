"""What a message takes on the disk: waiting, delivered and kept, and in the WAL on its way.

`growth`: messages of 100 characters to 2,000 chats, inserted with a commit each, as applications do, and delivered by a
worker without HTTP in batches of 1 and of 8 (a real worker at 30/s claims 1 to 2 at a time, one behind a backlog up
to 3 at 30/s). Bytes are the tables' and indexes' own sizes divided by the rows, so whole pages and their free space
count. `with an idempotency key and a tag` is what these add. The WAL is what the server wrote meanwhile, commits
included, from some messages after a checkpoint on; full-page images of pages touched for the first time after each
later checkpoint come on top in production.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg

from bench.case import Case, Size
from bench.figure import Figure
from bench.noop import NoopWorker
from bench.server import Server, number, rows

CHATS: Final = 2_000
MESSAGES: Final = 10_000
WARM: Final = 2_000  # the plans are made, and the pages that are there were touched since the checkpoint
BATCHES: Final = (1, 8)
_INSERT: Final = """
    INSERT INTO outbox.message (chat_id, payload, idempotency_key, tag)
    VALUES (%s, jsonb_build_object('text', rpad(%s, 100, 'abcdefgh ')), %s, %s)
"""
_HEAP: Final = "SELECT sum(pg_table_size(relid)) FROM pg_partition_tree(%s::regclass) WHERE isleaf"
_INDEXES: Final = "SELECT sum(pg_indexes_size(relid)) FROM pg_partition_tree(%s::regclass) WHERE isleaf"


def _growth(server: Server, size: Size) -> Iterator[Figure]:
    messages = size.of(MESSAGES, 1_000)
    with server.database("growth") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0, group_limit = NULL")
        connection.execute("CHECKPOINT")
        _insert(connection, WARM)
        _deliver(connection, 8)
        connection.execute("VACUUM")

        plain = _insert(connection, messages)
        kept = 0.0
        yield Figure("WAL of an insert with its commit", plain / messages, "B/msg")
        yield from _size(connection, "waiting: message", "outbox.message", messages)
        yield from _size(connection, "waiting: wakeup", "outbox.wakeup", messages)
        before = {name: _bytes(connection, name) for name in ("finished", "attempt")}
        yield Figure("WAL of its delivery, batches of 8", _deliver(connection, 8) / messages, "B/msg")
        for name, (heap, indexes) in before.items():
            now_heap, now_indexes = _bytes(connection, name)
            yield Figure(f"kept: {name}, table", (now_heap - heap) / messages, "B/msg")
            yield Figure(f"kept: {name}, indexes", (now_indexes - indexes) / messages, "B/msg")
            kept += now_heap + now_indexes - heap - indexes
        yield Figure("kept: all of these", kept / messages, "B/msg")
        chats = number(connection, "SELECT count(*) FROM outbox.chat")
        yield from _size(connection, "kept: chat, per chat", "outbox.chat", round(chats))

        heap, _ = _bytes(connection, "finished")
        connection.execute("UPDATE outbox.bot SET keep_payload = false")
        _insert(connection, messages)
        alone = _deliver(connection, 1)
        yield Figure("WAL of its delivery, batches of 1", alone / messages, "B/msg")
        yield Figure("WAL of an insert and its delivery, batches of 1", (plain + alone) / messages, "B/msg")
        yield Figure(
            "kept: finished, table, without payload", (_bytes(connection, "finished")[0] - heap) / messages, "B/msg"
        )
        marked = _insert(connection, messages, "broadcast")
        yield Figure("WAL of an insert, with an idempotency key and a tag", marked / messages, "B/msg")
        yield from _size(connection, "kept: idempotency, per key", "outbox.idempotency", messages)


def _insert(connection: psycopg.Connection[Any], messages: int, tag: str | None = None) -> float:
    """Insert with a commit each; return the bytes of WAL."""
    before = _wal(connection)
    for i in range(messages):
        key = f"order-{i}-shipped" if tag else None
        connection.execute(_INSERT, [str(10_000 + i % CHATS), f"message {i} ", key, tag])
    return _wal(connection) - before


def _deliver(connection: psycopg.Connection[Any], batch: int) -> float:
    """Deliver what waits; return the bytes of WAL."""
    worker = NoopWorker(connection, batch)
    before = _wal(connection)
    while worker.turn() or number(connection, "SELECT count(*) FROM (SELECT FROM outbox.message LIMIT 1) m"):
        pass
    return _wal(connection) - before


def _wal(connection: psycopg.Connection[Any]) -> float:
    return number(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'")


def _bytes(connection: psycopg.Connection[Any], name: str) -> tuple[float, float]:
    """The table's bytes, TOAST included, and its indexes'."""
    table = f"outbox.{name}"
    return number(connection, _HEAP, [table]), number(connection, _INDEXES, [table])


def _size(connection: psycopg.Connection[Any], name: str, table: str, count: int) -> Iterator[Figure]:
    [[heap, indexes]] = rows(connection, "SELECT pg_table_size(%s), pg_indexes_size(%s)", [table, table])
    yield Figure(f"{name}, table", heap / count, "B")
    yield Figure(f"{name}, indexes", indexes / count, "B")


CASES: Final[dict[str, Case]] = {"growth": _growth}
