"""How long each SQL panel of the dashboard History takes, as outbox_reader, with 1,000,000 messages in history.

Grafana's macros are put in place for the last 3 hours, what the dashboard opens with, and for the last 2 days; the time
is that of the query, its rows read, the median of 5. Mark: 1 s each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from bench.case import Case, Size
from bench.figure import Figure
from bench.server import Server
from grafana.build.without_grafana import in_place, sql_panels
from tests.conftest import Database
from tests.observe.filled import fill_history

DASHBOARD: Final = Path(__file__).resolve().parents[2] / "grafana" / "dashboards" / "history.json"
LOOKS: Final = 5
MOST_MS: Final = 1000.0
BOTS: Final = ["default", "alerts", "quiet"]


def _measure(server: Server, size: Size, since: str) -> Iterator[Figure]:
    with server.database("panels") as url:
        database = Database(url)
        fill_history(
            database, finished=size.of(1_000_000, 2000), dead=size.of(10_000, 200), waiting=size.of(100_000, 500)
        )
        with database.connect() as connection:
            connection.execute("SET ROLE outbox_reader")
            for title, sql in sql_panels(DASHBOARD):
                took_ms = []
                for _ in range(LOOKS):
                    started_s = time.perf_counter()
                    connection.execute(in_place(sql, since=since, bots=BOTS).encode()).fetchall()
                    took_ms.append(1000 * (time.perf_counter() - started_s))
                yield Figure(title, median(took_ms), "ms", at_most=MOST_MS)


def _three_hours(server: Server, size: Size) -> Iterator[Figure]:
    yield from _measure(server, size, "now() - interval '3 hours'")


def _two_days(server: Server, size: Size) -> Iterator[Figure]:
    yield from _measure(server, size, "now() - interval '2 days'")


CASES: Final[dict[str, Case]] = {"3h": _three_hours, "2d": _two_days}
