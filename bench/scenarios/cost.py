"""Server time of claim + complete per message, at batches of 1, 8 and 100.

pg_stat_statements with track = top: total_exec_time of the two calls, divided by the messages; commits, parsing and
the network do not count. Once without a limit, and once through the ring of tokens with every answer settled, as a
worker does it: 30 tokens (100 for batches of 100), with a window of 10 ms so that the ring does not slow the bench.
Each run has 2,000 chats with a backlog that outlasts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg

from bench.case import Case, Size
from bench.figure import Figure
from bench.noop import NoopWorker
from bench.server import Server, number, rows

CHATS: Final = 2_000
MESSAGES: Final = {1: 3_000, 8: 12_000, 100: 30_000}
MOST_MS: Final = {8: 0.3}  # of the batch that a busy bot really claims
COST: Final = """
    SELECT sum(total_exec_time) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
     WHERE d.datname = %s AND (query LIKE '%%outbox.claim(%%' OR query LIKE '%%outbox.complete(%%')
"""


def _cost(server: Server, size: Size) -> Iterator[Figure]:
    for pacing in ("no limit", "ring"):
        for batch, messages in MESSAGES.items():
            ms = _ms_per_message(server, batch, size.of(messages, 200), ring=pacing == "ring")
            yield Figure(f"claim + complete, batches of {batch}, {pacing}", ms, "ms/msg", at_most=MOST_MS.get(batch))


def _ms_per_message(server: Server, batch: int, messages: int, *, ring: bool) -> float:
    with (
        server.database("cost") as url,
        server.connect() as outside,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute(
            "UPDATE outbox.bot SET rate = %s, rate_window_s = 0.01, chat_interval_s = 0, group_limit = NULL",
            [max(30, batch) if ring else None],
        )
        connection.execute(
            """INSERT INTO outbox.message (chat_id, payload)
               SELECT (1000 + g %% %s)::text, '{"text": "hi there"}' FROM generate_series(1, %s) g""",
            [CHATS, messages + 10 * CHATS],
        )
        worker = NoopWorker(connection, batch)
        for _ in range(20):  # plans and caches of this connection
            worker.turn()
        rows(outside, "SELECT pg_stat_statements_reset()")
        done = 0
        while done < messages:
            done += len(worker.turn())
        return number(outside, COST, [connection.info.dbname]) / done


CASES: Final[dict[str, Case]] = {"cost": _cost}
