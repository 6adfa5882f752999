"""The panels that ask PostgreSQL, asked as a login that has outbox_reader only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from grafana.build.without_grafana import in_place, sql_panels
from tests.conftest import Database
from tests.grafana.conftest import ROOT
from tests.observe.filled import fill_history

PANELS = list(sql_panels(ROOT / "grafana" / "dashboards" / "history.json"))


@pytest.fixture(scope="module")
def filled(server: Any, template: Any) -> Iterator[Database]:
    database: Database = server.create_database(str(conninfo_to_dict(template.url)["dbname"]))
    fill_history(database, finished=2000, dead=200, waiting=500, chats=100)
    yield database
    server.drop_database(database)


@pytest.mark.parametrize(("title", "sql"), PANELS, ids=[title for title, _ in PANELS])
def test_a_reader_may_ask_it(filled: Database, title: str, sql: str) -> None:
    with filled.connect() as connection:
        connection.execute("SET ROLE outbox_reader")
        cursor = connection.execute(
            in_place(sql, since="now() - interval '30 days'", bots=["default", "alerts", "quiet"])
        )
        assert cursor.description


def test_a_query_names_public_things_only() -> None:
    promised = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    for title, sql in PANELS:
        for name in re.findall(r"outbox\.(\w+)", sql):
            assert f"outbox.{name}" in promised, (title, name)
