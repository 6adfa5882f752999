"""outbox migrate: again, at once, by a plain owner, on what is not ours, and as a script."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from outbox.database import migrate as migration
from outbox.database.binaries import installed_programs
from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import head_revision, is_current, migrate, migrate_sql, schema_at_head
from outbox.settings import UsageError

REPOSITORY = Path(__file__).parents[2]

# Imports first, so that all of them migrate at the same moment.
MIGRATE_ON_GO = """
import sys
from outbox.database.migrate import migrate
print("ready", flush=True)
sys.stdin.readline()
migrate(sys.argv[1])
"""

CATALOG = {
    "relations": """
        SELECT c.oid::regclass::text, relkind, reloptions, relreplident, obj_description(c.oid),
               CASE WHEN NOT relispartition THEN relacl::text END
          FROM pg_class c WHERE relnamespace = 'outbox'::regnamespace""",
    "columns": """
        SELECT attrelid::regclass::text, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attacl::text,
               pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
          FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
          LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
         WHERE relnamespace = 'outbox'::regnamespace AND attnum > 0""",
    "functions": """
        SELECT p.oid::regprocedure::text, CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) END, proacl::text,
               obj_description(p.oid)
          FROM pg_proc p WHERE pronamespace = 'outbox'::regnamespace""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'outbox'::regnamespace""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'outbox'",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t
          JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'outbox'::regnamespace AND NOT tgisinternal""",
    "revision": "SELECT version_num FROM outbox.alembic_version",
    "bots": "SELECT bot, rate FROM outbox.bot",
    "schema": "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'outbox'",
}


def catalog(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    # Without the days' partitions: midnight adds one, and nobody addresses them but through their parents.
    rows = {name: sorted(map(repr, connection.execute(query))) for name, query in CATALOG.items()}
    return {name: [row for row in found if not re.search(r"_20[0-9]{6}", row)] for name, found in rows.items()}


def migrate_at_once(*urls: str) -> None:
    command = [sys.executable, "-c", MIGRATE_ON_GO]
    programs = [
        subprocess.Popen(
            [*command, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for url in urls
    ]
    for program in programs:
        assert program.stdout is not None
        program.stdout.readline()
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        _, errors = program.communicate(timeout=120)
        assert program.returncode == 0, errors


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A server of this module's own: roles are the cluster's, and the shared one has them already."""
    with ephemeral_server() as url:
        yield url


@pytest.fixture
def without_roles(cluster: str) -> Iterator[str]:
    with psycopg.connect(cluster, autocommit=True) as connection:
        yield cluster
        for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'fresh%'").fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^(outbox_|plain)'").fetchall():
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def fresh_database(server_url: str, name: str, owner: str = "postgres") -> str:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))
    port = conninfo_to_dict(server_url)["port"]
    return f"postgresql://{owner}@127.0.0.1:{port}/{name}"


def test_a_second_run_changes_nothing(db):
    with db.connect() as connection:
        before = catalog(connection)
        migrate(db.url)
        assert catalog(connection) == before
        assert before["functions"]


def test_a_second_run_brings_a_changed_function_back(db):
    with db.connect() as connection:
        before = catalog(connection)
        connection.execute(
            "CREATE OR REPLACE FUNCTION outbox.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz'"
        )
        migrate(db.url)
        assert catalog(connection) == before


def test_four_programs_that_migrate_one_database_at_once_all_succeed(empty_db):
    migrate_at_once(*[empty_db.url] * 4)
    with empty_db.connect() as connection:
        assert schema_at_head(connection)


def test_databases_that_race_for_the_roles_of_their_cluster_all_succeed(without_roles):
    urls = [fresh_database(without_roles, f"fresh_{i}") for i in range(3)]
    migrate_at_once(*urls)
    for url in urls:
        with psycopg.connect(url) as connection:
            assert schema_at_head(connection)
            assert connection.execute("SELECT has_schema_privilege('outbox_reader', 'outbox', 'USAGE')").fetchone() == (
                True,
            )


def test_a_plain_owner_without_the_right_to_make_roles_gets_everything_else_and_is_told(without_roles):
    with psycopg.connect(without_roles, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN NOCREATEROLE")
    url = fresh_database(without_roles, "fresh_plain", owner="plain")
    notices: list[str] = []
    migrate(url, notices.append)
    assert any("outbox_producer" in notice for notice in notices), notices
    with psycopg.connect(url) as connection:
        assert schema_at_head(connection)
        connection.execute("""INSERT INTO outbox.message (chat_id, payload) VALUES (42, '{"text": "hi"}')""")
    migrate(url)


def test_a_plain_owner_shares_the_roles_that_another_database_brought(without_roles):
    migrate(fresh_database(without_roles, "fresh_first"))
    with psycopg.connect(without_roles, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN NOCREATEROLE")
    url = fresh_database(without_roles, "fresh_plain", owner="plain")
    migrate(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT has_schema_privilege('outbox_reader', 'outbox', 'USAGE')").fetchone() == (
            True,
        )


def test_a_user_who_may_not_create_is_told_what_to_grant(without_roles):
    with psycopg.connect(without_roles, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
    url = fresh_database(without_roles, "fresh").replace("postgres@", "plain@")
    with pytest.raises(UsageError, match='GRANT CREATE ON DATABASE "fresh" TO "plain"'):
        migrate(url)


def test_a_schema_that_is_not_ours_is_refused_and_left_alone(empty_db):
    empty_db.execute("CREATE SCHEMA outbox")
    empty_db.execute("CREATE TABLE outbox.event (id int)")
    with pytest.raises(UsageError, match="schema 'outbox' of this database belongs to something else"):
        migrate(empty_db.url)
    assert empty_db.execute("SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace") == [("event",)]


def test_an_empty_schema_that_a_dba_made_is_used(empty_db):
    empty_db.execute("CREATE SCHEMA outbox")
    migrate(empty_db.url)
    with empty_db.connect() as connection:
        assert schema_at_head(connection)


def test_a_migration_from_the_future_is_refused(db):
    db.execute("UPDATE outbox.alembic_version SET version_num = '9999'")
    with pytest.raises(UsageError, match=r"does not know.*9999.*Install the outbox release"):
        migrate(db.url)
    with db.connect() as connection:
        assert not schema_at_head(connection)


def test_a_standby_is_refused(db):
    with pytest.raises(UsageError, match="read-only"):
        migrate(f"{db.url}?options=-c%20default_transaction_read_only%3Don")


@pytest.mark.parametrize(
    "version",
    ["CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", "PostgreSQL 15.2-YB-2.25.0.0-b1 on x86_64-pc-linux-gnu"],
)
def test_what_only_speaks_the_protocol_is_refused_by_name(monkeypatch, empty_db, version):
    monkeypatch.setattr(migration, "_value", lambda connection, query: version)
    with empty_db.connect() as connection, pytest.raises(UsageError, match="not PostgreSQL"):
        migration._refuse_server(connection)


def test_a_failing_file_is_named_with_its_line_and_changes_nothing(monkeypatch, empty_db):
    broken = migration.SqlFile("sql/2_claim/broken.sql", "SELECT 1;\n\nSELECT missing;\n")
    monkeypatch.setattr(migration, "sql_files", lambda: [broken])
    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        migrate(empty_db.url)
    assert caught.value.__notes__ == ["in sql/2_claim/broken.sql line 3"]
    assert empty_db.execute("SELECT to_regnamespace('outbox')") == [(None,)]


def test_a_lock_that_a_worker_held_for_a_moment_is_waited_for_again(monkeypatch, db):
    monkeypatch.setattr(migration, "SETTINGS", migration.SETTINGS.replace("5s", "50ms"))
    tries: list[str] = []
    once = migration._migrate_once
    with db.connect(autocommit=False) as worker:
        worker.execute("LOCK TABLE outbox.message")

        def migrate_once(url: str, echo: migration.Echo) -> None:
            tries.append(url)
            if len(tries) == 2:
                worker.rollback()
            once(url, echo)

        monkeypatch.setattr(migration, "_migrate_once", migrate_once)
        migrate(db.url)
    assert len(tries) == 2


def test_the_script_makes_the_same_schema_as_the_command(db, empty_db, tmp_path):
    script = tmp_path / "outbox.sql"
    script.write_text(migrate_sql())
    run_psql(empty_db.url, script)
    with db.connect() as one, empty_db.connect() as other:
        assert catalog(one) == catalog(other)


def test_the_script_from_the_last_migration_applies_to_a_database_at_it(db, tmp_path):
    script = tmp_path / "outbox.sql"
    script.write_text(migrate_sql(since=head_revision()))
    with db.connect() as connection:
        before = catalog(connection)
        run_psql(db.url, script)
        assert catalog(connection) == before


def test_the_script_refuses_a_schema_that_is_not_ours(empty_db, tmp_path):
    empty_db.execute("CREATE SCHEMA outbox")
    empty_db.execute("CREATE TABLE outbox.event (id int)")
    script = tmp_path / "outbox.sql"
    script.write_text(migrate_sql())
    with pytest.raises(AssertionError, match="belongs to something else"):
        run_psql(empty_db.url, script)


def test_a_script_from_no_such_migration_is_refused():
    with pytest.raises(UsageError, match="no migration 'nonsense'"):
        migrate_sql(since="nonsense")


def run_psql(url: str, script: Path) -> None:
    program = installed_programs() / "bin" / "psql"
    command = [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_database_is_current_until_a_file_of_ours_differs(db, monkeypatch):
    assert is_current(db.url)
    monkeypatch.setattr("outbox.database.migrate.release_digest", lambda: "of another version")
    assert not is_current(db.url)


def test_a_database_without_outbox_is_not_current(empty_db):
    assert not is_current(empty_db.url)


def test_asking_whether_a_database_is_current_waits_for_no_reader(db):
    with db.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM outbox.history").fetchone()
        assert is_current(db.url)
