"""Connections that come back: pools of workers, and which database a command talks to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from outbox.database.embedded import EmbeddedServer, embedded_server
from outbox.settings import Settings, UsageError

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 1
PEER_LOST_S = 10  # a server that vanished without a FIN is noticed after this long
# psycopg_pool doubles its wait between attempts without a cap until reconnect_timeout, then gives up and starts anew
# when the next caller asks. A large value would make it sleep for hours after an outage of hours; this one is the cap.
RECONNECT_GIVE_UP_S = 4.0
POOL_TIMEOUT_S = 5.0

# These make a database of their own; for the others a typo must not mean "an empty database".
STARTS_EMBEDDED_SERVER = frozenset({"demo", "up", "db"})
# These do not even look into one that runs: a worker belongs to the database that it was given.
NEVER_EMBEDDED_SERVER = frozenset({"worker", "migrate"})


class WorkerConnection(psycopg.AsyncConnection[Any]):
    """A connection with timeouts of its own, also where a pooler refuses to be told them at the start."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect with statement_timeout and lock_timeout; without them where the pooler does not let them through."""
        try:
            return await super().connect(conninfo, **options)
        except psycopg.OperationalError as error:
            # PgBouncer: 'unsupported startup parameter: options', or '… in options: lock_timeout'. The timeouts of
            # ALTER ROLE hold behind it.
            if "startup parameter" not in str(error) or "options" not in options:
                raise
        del options["options"]
        return await super().connect(conninfo, **options)


class WorkerPool(AsyncConnectionPool[WorkerConnection]):
    """A pool that does not keep a connection to a server that stopped being the primary."""

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[WorkerConnection]:
        """Lend a connection. Raises psycopg_pool.PoolTimeout after `timeout` seconds (default 5) without one."""
        async with super().connection(timeout) as connection:
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction:
                # After a failover the demoted server may keep its sessions: alive, so the pool would lend them on.
                await connection.close()
                raise


def worker_pool(url: str, max_size: int = 2, *, application_name: str = "outbox worker") -> WorkerPool:
    """Return a pool, not opened yet, of autocommit connections without session state or prepared statements.

    It reconnects for ever. `pool.connection()` raises psycopg_pool.PoolTimeout after 5 s without one.
    """
    return WorkerPool(
        worker_conninfo(url),
        connection_class=WorkerConnection,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,  # behind a transaction pooler the next statement is on another server session
            "application_name": application_name,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_S * 1000} -c lock_timeout={LOCK_TIMEOUT_S * 1000}",
        },
        min_size=1,
        max_size=max_size,
        open=False,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=RECONNECT_GIVE_UP_S,
        # Nobody is told that the pool gives up an attempt: it starts another one when a caller asks.
        name=application_name,
    )


async def open_pool(url: str, max_size: int = 2, *, application_name: str = "outbox worker") -> WorkerPool:
    """Return an open worker_pool() without waiting for the database. Close it when done."""
    pool = worker_pool(url, max_size, application_name=application_name)
    await pool.open()
    return pool


def worker_conninfo(url: str) -> str:
    """Return `url` with what every long-lived connection needs; what the URL says itself wins."""
    given = conninfo_to_dict(url)
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives": 1,
        "keepalives_idle": PEER_LOST_S // 2,
        "keepalives_interval": PEER_LOST_S // 4,
        "keepalives_count": 2,
        "tcp_user_timeout": PEER_LOST_S * 1000,
    }
    if "," in str(given.get("host", "")):
        # After a failover the old primary may be back as a standby, first in the list.
        defaults["target_session_attrs"] = "read-write"
    return make_conninfo(**(defaults | given))


def normalise_url(url: str) -> str:
    """Return a libpq URL or conninfo for `url`, which may be SQLAlchemy's. Raises UsageError when it is neither."""
    scheme, separator, rest = url.strip().partition("://")
    if separator:
        if scheme.partition("+")[0] not in ("postgresql", "postgres"):
            raise UsageError(f"OUTBOX_DATABASE_URL begins with {scheme}://", "Use postgresql://user@host/name")
        url = f"postgresql://{rest}"
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text quotes the URL, password included
        raise UsageError(
            "OUTBOX_DATABASE_URL cannot be read",
            "Use postgresql://USER:PASSWORD@host/name, with : / @ # % in the password percent-encoded",
        ) from None
    return url


@contextlib.contextmanager
def database_url(settings: Settings, command: str, echo: Callable[[str], None] | None = None) -> Iterator[str]:
    """Yield the URL of the database that `command` talks to.

    Without one set, `up`, `demo` and `db` start the embedded server, which runs at least until the block ends; other
    commands but `worker` and `migrate` join it where it runs. `echo` is told so. Raises UsageError for a bad URL, and
    for none where there is nothing to join.
    """
    if settings.database_url is not None:
        yield normalise_url(settings.database_url.get_secret_value())
        return
    joins = command not in NEVER_EMBEDDED_SERVER and EmbeddedServer(settings.data_dir).is_running()
    if command not in STARTS_EMBEDDED_SERVER and not joins:
        raise UsageError(
            f"OUTBOX_DATABASE_URL is not set, and {command} needs your database",
            "Set OUTBOX_DATABASE_URL=postgresql://user@host/name, or try: outbox demo",
        )
    with embedded_server(settings.data_dir) as url:
        if echo is not None:
            port = conninfo_to_dict(url)["port"]
            echo(f"OUTBOX_DATABASE_URL is not set: using the embedded PostgreSQL on port {port} in {settings.data_dir}")
        yield url
