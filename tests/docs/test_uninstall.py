"""docs/operations/uninstall.md: nothing is left, in the database or in the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate
from tests.docs.blocks import blocks_of

CATALOGS = (
    *("pg_namespace", "pg_class", "pg_proc", "pg_type", "pg_trigger", "pg_constraint", "pg_attrdef", "pg_sequence"),
    *(
        "pg_depend",
        "pg_description",
        "pg_default_acl",
        "pg_extension",
        "pg_event_trigger",
        "pg_publication",
        "pg_policy",
    ),
    *("pg_db_role_setting", "pg_statistic_ext", "pg_roles"),
)


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """Roles are the cluster's: other tests need theirs."""
    with ephemeral_server() as url:
        yield url


@pytest.fixture
def databases(own_server: str) -> Iterator[list[str]]:
    """Two databases of that server, never migrated."""
    names = ["one", "two"]
    with psycopg.connect(own_server, autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield [psycopg.conninfo.make_conninfo(own_server, dbname=name) for name in names]
        for name in names:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
        connection.execute("DROP ROLE IF EXISTS outbox_producer, outbox_reader, outbox_worker, outbox_admin")


def counts(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return how many rows each catalog has."""
    return {
        catalog: connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(catalog))).fetchall()[0][0]
        for catalog in CATALOGS
    }


def test_the_two_statements_of_the_page_leave_nothing(databases):
    drop_schema, drop_roles = blocks_of("operations/uninstall.md", "sql")
    with psycopg.connect(databases[0], autocommit=True) as connection:
        before = counts(connection)
        migrate(databases[0])
        connection.execute(
            "INSERT INTO outbox.message (chat_id, payload, tag) VALUES (42, '{\"text\": \"hi\"}', 'sale')"
        )
        connection.execute("SELECT outbox.cancel(p_tag => 'sale')")
        during = counts(connection)
        connection.execute(sql.SQL(drop_schema))
        connection.execute(sql.SQL(drop_roles))
        assert counts(connection) == before
        assert during["pg_roles"] == before["pg_roles"] + 4


def test_roles_that_another_database_uses_are_not_dropped(databases):
    drop_schema, drop_roles = blocks_of("operations/uninstall.md", "sql")
    for url in databases:
        migrate(url)
    with psycopg.connect(databases[0], autocommit=True) as connection:
        connection.execute(sql.SQL(drop_schema))
        with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="cannot be dropped") as refused:
            connection.execute(sql.SQL(drop_roles))
    assert "objects in database two" in (refused.value.diag.message_detail or "")
