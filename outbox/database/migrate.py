"""Tables to head, functions replaced: one transaction, one lock; may be started anywhere, by many at once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import alembic.command
import alembic.util
import psycopg
import sqlalchemy
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import errors, sql

from outbox.database.sqlfiles import SqlFile, migrations_folder, sql_files
from outbox.settings import UsageError

Echo = Callable[[str], None]

OLDEST_SERVER = 15  # NULLS NOT DISTINCT, MERGE, security_invoker views
LOCK_KEY = 0x6F7574626F78  # "outbox": the advisory lock of this database's migrations
LOCK_TIMEOUT_S = 5  # an ALTER TABLE that waits makes every later query of that table wait behind it
TRIES = 5

# Roles are cluster-wide: the migration of another database may be creating the same ones. The rest are locks lost to
# running workers. All of them pass when tried again.
PASSING = (
    errors.UniqueViolation,
    errors.DuplicateObject,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
)

# What idempotence sounds like.
NOISE = re.compile(r"skipping$|^role .* (has already been granted membership|is already a member)")

SETTINGS = f"""\
SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
-- Every name in our files is qualified; one that is not must not find somebody's public.now().
SET LOCAL search_path = pg_catalog, pg_temp;
"""

LOCK = f"SELECT pg_advisory_xact_lock({LOCK_KEY});\n"

FINISH = """\
-- Indexes last: delivery waits for them. Only days made after them have them from the start.
SELECT outbox.make_indexes();
SELECT outbox.make_partitions();
INSERT INTO outbox.release (digest, applied_at) VALUES ('{digest}', now())
    ON CONFLICT (digest) DO UPDATE SET applied_at = excluded.applied_at;
"""

FOREIGN_SCHEMA = """\
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid)
    OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = n.oid)
    OR EXISTS (SELECT FROM pg_type WHERE typnamespace = n.oid)
  FROM pg_namespace n WHERE n.nspname = 'outbox' AND to_regclass('outbox.alembic_version') IS NULL"""

PROLOGUE_FOR_A_FRESH_DATABASE = f"""\
DO $$
BEGIN
    IF coalesce(({FOREIGN_SCHEMA}), false) THEN
        RAISE EXCEPTION 'schema "outbox" belongs to something else' USING
            HINT = 'Rename it, or give outbox a database of its own.';
    END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS outbox;
"""


def migrate(url: str, echo: Echo | None = None) -> None:
    """Bring the database at `url` to this version: tables, functions, grants, partitions. Idempotent.

    `echo` gets the server's notices, a line each. Raises UsageError for a server or schema that is not for us, and
    psycopg.Error as it comes: nothing was changed then. Lost races are tried again, 5 times in all.
    """
    for left in reversed(range(TRIES)):
        notices: list[str] = []
        try:
            with _drivers_errors():
                _migrate_once(url, notices.append)
        except psycopg.Error as error:
            if left == 0 or not _passes(error):
                raise
            time.sleep(random.uniform(0.05, 0.5))
        else:
            for notice in notices:
                if echo is not None:
                    echo(notice)
            return


def is_current(url: str) -> bool:
    """Say whether the database at `url` holds exactly what migrate() would make. Takes no lock that others wait for.

    A worker's role may ask. Raises psycopg.Error when the database cannot be reached.
    """
    with psycopg.connect(url, autocommit=True, application_name="outbox migrate", prepare_threshold=None) as connection:
        try:
            return bool(
                _value(
                    connection,
                    f"SELECT '{release_digest()}' = (SELECT digest FROM outbox.release"
                    " ORDER BY applied_at DESC LIMIT 1)",
                )
            )
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
            return False


def release_digest() -> str:
    """Return what tells this version's tables, functions and views from any other's."""
    parts = [head_revision(), *(f"{file.name}\n{file.text}" for file in sql_files())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def migrate_sql(since: str | None = None) -> str:
    """Return what migrate() does as a script for psql, from revision `since` (None: a database without outbox)."""
    output = io.StringIO()
    config = _config()
    config.output_buffer = output
    _offline(config, since)
    parts = [
        "-- psql -v ON_ERROR_STOP=1 -f THIS_FILE: everything or nothing.\n"
        "\\set ON_ERROR_STOP 1\n\\encoding UTF8\nBEGIN;\n",
        SETTINGS,
        LOCK,
        PROLOGUE_FOR_A_FRESH_DATABASE if since is None else "",
        output.getvalue(),
    ]
    parts += [f"\n-- {file.name}\n{file.text.rstrip()}\n" for file in sql_files()]
    parts += ["\n", FINISH.format(digest=release_digest()), "COMMIT;\n"]
    return "".join(parts)


def head_revision() -> str:
    """Return the newest migration that this version brings."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise FileNotFoundError(f"no migration in {migrations_folder()}")
    return head


def schema_revision(connection: psycopg.Connection[Any]) -> str | None:
    """Return the migration that the database is at; None: `outbox migrate` never ran there (or may not be seen)."""
    present = connection.execute("SELECT to_regclass('outbox.alembic_version') IS NOT NULL").fetchone()
    if present is None or not present[0]:
        return None
    row = connection.execute("SELECT version_num FROM outbox.alembic_version").fetchone()
    return str(row[0]) if row else None


def schema_at_head(connection: psycopg.Connection[Any]) -> bool:
    """Say whether the tables are this version's. One round trip or two; works inside any transaction."""
    return schema_revision(connection) == head_revision()


def _migrate_once(url: str, echo: Echo) -> None:
    # SQLAlchemy is here for Alembic alone. It connects through us, because it does not read URLs of several hosts.
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, application_name="outbox migrate", prepare_threshold=None),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.begin() as transaction:
        connection = transaction.connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        connection.add_notice_handler(lambda notice: _pass_on(notice, echo))
        _run(connection, SETTINGS + "SET LOCAL lock_timeout = 0;")  # others may migrate as long as they need
        _run(connection, LOCK)
        _run(connection, SETTINGS)
        _refuse_server(connection)
        _prepare_schema(connection)
        _upgrade_tables(transaction)
        for file in sql_files():
            _apply(connection, file)
        _run(connection, FINISH.format(digest=release_digest()))


def _refuse_server(connection: psycopg.Connection[Any]) -> None:
    version = str(_value(connection, "SELECT version()"))
    # What only speaks the protocol (CockroachDB, YugabyteDB) says so here; what says PostgreSQL but cannot do statement
    # triggers with transition tables fails in a migration with feature_not_supported, and changes nothing.
    if not version.startswith("PostgreSQL ") or "-YB-" in version:
        raise UsageError(f"the server is {version.split(' (')[0]!r}, not PostgreSQL", "Use PostgreSQL 15 or newer")
    if connection.info.server_version < OLDEST_SERVER * 10000:
        raise UsageError(f"the server is {version.split(' on ')[0]}", f"Use PostgreSQL {OLDEST_SERVER} or newer")
    if _value(connection, "SHOW transaction_read_only") == "on":
        raise UsageError("the server is read-only, most likely a standby", "Point OUTBOX_DATABASE_URL at the primary")


def _prepare_schema(connection: psycopg.Connection[Any]) -> None:
    if _value(connection, FOREIGN_SCHEMA):
        raise UsageError(
            "schema 'outbox' of this database belongs to something else", "Rename it, or give outbox its own database"
        )
    if _value(connection, "SELECT to_regnamespace('outbox') IS NOT NULL"):
        return
    try:
        _run(connection, "CREATE SCHEMA outbox")
    except errors.InsufficientPrivilege:
        database, user = connection.info.dbname, connection.info.user
        raise UsageError(
            f"{user!r} may not create schema 'outbox' in database {database!r}",
            f'Have its owner run: GRANT CREATE ON DATABASE "{database}" TO "{user}"',
        ) from None


def _upgrade_tables(transaction: sqlalchemy.Connection) -> None:
    config = _config()
    config.attributes["connection"] = transaction
    try:
        alembic.command.upgrade(config, "head")
    except alembic.util.CommandError as error:
        raise UsageError(
            f"schema 'outbox' is at a migration that this version does not know ({error})",
            "Install the outbox release that made it, or a newer one",
        ) from None


@contextlib.contextmanager
def _drivers_errors() -> Iterator[None]:
    """Raise psycopg's own error where SQLAlchemy wrapped it."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from None
        raise


def _apply(connection: psycopg.Connection[Any], file: SqlFile) -> None:
    try:
        _run(connection, file.text)
    except psycopg.Error as error:
        # The server counts characters from the start of the file.
        position = error.diag.statement_position
        line = f" line {file.text.count(chr(10), 0, int(position)) + 1}" if position else ""
        error.add_note(f"in {file.name}{line}")
        raise


def _run(connection: psycopg.Connection[Any], text: str) -> None:
    # Without parameters psycopg sends the text as it is, as one simple query: many statements, % and $$ are fine.
    connection.execute(sql.SQL(text), prepare=False)


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(sql.SQL(query)).fetchone()
    return row[0] if row else None


def _passes(error: psycopg.Error) -> bool:
    return isinstance(error, PASSING) or "tuple concurrently" in str(error)


def _pass_on(notice: errors.Diagnostic, echo: Echo) -> None:
    text = notice.message_primary or ""
    if not NOISE.search(text):
        echo(f"{text}. {notice.message_hint}" if notice.message_hint else text)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


def _offline(config: Config, since: str | None) -> None:
    try:
        alembic.command.upgrade(config, f"{since}:head" if since else "head", sql=True)
    except alembic.util.CommandError as error:
        raise UsageError(f"there is no migration {since!r} ({error})", "Name one of migrations/versions") from None
