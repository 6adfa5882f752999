"""The code that the pages show runs, with the rights that they name, and does what they say."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.conftest import Database, Server
from tests.docs.blocks import blocks_of
from tests.docs.endings import end

APPLICATION = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int PRIMARY KEY, state text NOT NULL DEFAULT 'new');
INSERT INTO shop.orders VALUES (17);
CREATE TABLE shop.subscribers (chat_id bigint PRIMARY KEY, active boolean NOT NULL DEFAULT true);
INSERT INTO shop.subscribers (chat_id) SELECT generate_series(1, 50);
"""


@pytest.fixture
def login(server: Server, db: Database, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a login with the roles of the test's parameter, and an application's tables in its own schema."""
    name = f"outbox_docs_{uuid.uuid4().hex[:8]}"
    identifier = sql.Identifier(name)
    with db.connect() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(
                identifier, sql.SQL(", ").join(map(sql.Identifier, request.param))
            )
        )
        connection.execute(APPLICATION)
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA shop TO {}").format(identifier))
        connection.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA shop TO {}").format(identifier))
    yield make_conninfo(db.url, user=name, options="-c search_path=shop")
    with db.connect() as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(identifier))
        connection.execute(sql.SQL("DROP ROLE {}").format(identifier))


def run(url: str, page: str) -> None:
    """Run every SQL block of a page, in order."""
    with psycopg.connect(url, autocommit=True) as connection:
        for block in blocks_of(page, "sql"):
            try:
                connection.execute(sql.SQL(block))
            except psycopg.Error as error:
                pytest.fail(f"{page}: {error} in:\n{block}")


of_application = pytest.mark.parametrize("login", [("outbox_producer", "outbox_reader")], indirect=True)


@of_application
def test_the_sql_for_applications_runs_with_the_rights_that_the_page_names(db, login):
    run(login, "application.md")
    accepted = db.execute("SELECT tag, accepted FROM outbox.broadcasts ORDER BY tag")
    assert accepted == [("shipping", 1), ("summer-sale", 50)]
    [(keyed,)] = db.execute("SELECT count(*) FROM outbox.message WHERE payload ->> 'text' = 'Your order is on its way'")
    assert keyed == 3, "the insert with the key and the send with it are one message"


@of_application
def test_the_python_for_applications_runs_and_each_ended_message_is_dealt_with_once(db, login):
    for block in blocks_of("application.md", "sql"):
        if "CREATE TABLE follower" in block:
            with psycopg.connect(login) as connection:
                connection.execute(sql.SQL(block))
    names: dict[str, Any] = {"url": login}
    for block in blocks_of("application.md", "python"):
        exec(compile(block, "docs/application.md", "exec"), names)
    assert names["status"].status == "queued"
    names["connection"].close()
    ids = [message_id for (message_id,) in db.execute("SELECT id FROM outbox.message")]
    db.execute("UPDATE outbox.message SET chat_id = '7'")
    end(db, ids, status="dead", error_class="blocked")
    with psycopg.connect(login) as connection:
        assert names["follow_once"](connection) == len(ids) == 2
        assert names["follow_once"](connection) == 0
    assert db.execute("SELECT chat_id FROM shop.subscribers WHERE NOT active") == [(7,)]


@pytest.mark.parametrize("login", [("outbox_admin",)], indirect=True)
def test_the_sql_for_operators_runs_as_admin(db, login):
    db.execute('INSERT INTO outbox.message (chat_id, payload) VALUES (42, \'{"text": "hi"}\')')
    run(login, "operator.md")
    run(login, "operations/growth.md")
    done = {what for (what,) in db.execute("SELECT what FROM outbox.audit")}
    assert {"retry", "discard", "pause", "resume", "set_bot"} <= done
    assert db.execute("SELECT stopped FROM outbox.limits") == [(False,)]


@pytest.mark.parametrize("login", [("outbox_reader",)], indirect=True)
def test_what_operators_watch_needs_no_more_than_a_reader(db, login):
    [watch] = [block for block in blocks_of("operator.md", "sql") if "outbox.housekeeping" in block]
    with psycopg.connect(login, autocommit=True) as connection:
        connection.execute(sql.SQL(watch))


def test_after_a_recovery_what_was_scheduled_for_later_goes_back_and_the_rest_is_discarded(db):
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, next_attempt_at)"
        " VALUES (1, '{}', now() - interval '1 min'), (2, '{}', now() + interval '1 day')"
    )
    db.execute("SELECT outbox.adopt('default', '{}', true)")
    [block] = [block for block in blocks_of("operations/backup.md", "sql") if "outbox.retry" in block]
    [(failure,)] = db.execute("SELECT now()::text")
    with db.connect() as connection:
        connection.execute(sql.SQL(re.sub(r"scheduled_for > '[^']*'", f"scheduled_for > '{failure}'", block)))
    assert db.execute("SELECT id, status FROM outbox.history ORDER BY id") == [(1, "discarded"), (2, "queued")]


def test_after_pg_upgrade_a_cursor_with_the_new_beginning_goes_on_where_it_was(db):
    """pg_upgrade keeps transaction numbers; here the beginning alone is another server's."""
    db.execute("INSERT INTO outbox.message (chat_id, payload) SELECT i, '{}' FROM generate_series(1, 3) i")
    for message_id in (1, 2, 3):
        db.execute("SELECT outbox.adopt('default', '{}', true, %s, %s)", [message_id - 1, message_id])
    db.execute("CREATE TABLE follower (name text PRIMARY KEY, cursor text)")
    db.execute(
        "INSERT INTO follower SELECT 'f', '7713184998592690807-5' || substr(cursor, strpos(cursor, ':'))"
        "  FROM outbox.follow(NULL, 1)"
    )
    with pytest.raises(psycopg.errors.DatabaseError) as refused:
        db.execute("SELECT id FROM outbox.follow((SELECT cursor FROM follower))")
    assert refused.value.sqlstate == "OB003"
    [block] = blocks_of("operations/pg_upgrade.md", "sql")
    db.execute(block)
    assert db.execute("SELECT id FROM outbox.follow((SELECT cursor FROM follower))") == [(2,), (3,)]
