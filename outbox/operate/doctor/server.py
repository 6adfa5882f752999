"""The way to the server: whether it answers and how fast, what it is, what stands in between, its clock, its schema."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import psycopg

from outbox.database.migrate import OLDEST_SERVER, head_revision, release_digest, schema_revision
from outbox.operate.doctor.finding import Finding, failure
from outbox.operate.doctor.session import GRACE_S, NoAnswerError, Row, Session, within
from outbox.operate.explain import explain

SLOW_S: Final = 0.05  # a claim and the results of a batch take several round trips
SKEW_S: Final = 2.0
TIMES: Final = 5
POOLERS: Final = "docs/operations/poolers.md"


def connection(session: Session) -> Iterator[Finding]:
    """Whether the server answers, where, and how fast."""
    began_s = time.perf_counter()
    try:
        made = session.connect()
        took_s = time.perf_counter() - began_s
        round_trip_s = statistics.median(_round_trip_s(session) for _ in range(TIMES))
    except NoAnswerError as error:
        yield Finding("connection", "fail", f"the server takes the connection, but {error}", "Restart the server")
        return
    except psycopg.Error as error:
        yield failure("connection", explain(error))
        return
    info = made.info
    where = f"{info.host or 'the local socket'}:{info.port}/{info.dbname} as {info.user}"
    text = f"{where}: connected in {took_s * 1000:.0f} ms, answers in {round_trip_s * 1000:.1f} ms"
    if round_trip_s > SLOW_S:
        yield Finding("connection", "warn", text, "Run the workers near the database: each claim takes round trips")
    else:
        yield Finding("connection", "ok", text)


def server(session: Session) -> Iterator[Finding]:
    """Whether it is a PostgreSQL that outbox knows, and takes writes."""
    [(version, is_standby, read_only)] = session.ask(
        "SELECT version(), pg_is_in_recovery(), current_setting('default_transaction_read_only')"
    )
    name = str(version).split(" on ")[0]
    number = session.connect().info.server_version
    if not name.startswith("PostgreSQL ") or "-YB-" in name or number < OLDEST_SERVER * 10000:
        yield Finding("server", "fail", f"the server is {name}", f"Use PostgreSQL {OLDEST_SERVER} or newer")
    elif is_standby:
        yield Finding(
            "server", "fail", f"{name} is a standby: it only reads", "Point OUTBOX_DATABASE_URL at the primary"
        )
    elif read_only == "on":
        yield Finding(
            "server",
            "fail",
            f"{name} only reads",
            "RESET default_transaction_read_only of the database, role or server",
        )
    else:
        yield Finding("server", "ok", name)


def pooler(session: Session) -> Iterator[Finding]:
    """What stands between here and the server, seen by whose server session answers.

    A pooler in transaction mode gives a second connection the session that the first one had; one in session mode
    keeps it. PgBouncer names a process of its own when it connects.
    """
    first = session.connect()
    try:
        is_named = _server_pid(first) == first.info.backend_pid
        second = within(session.limit_s + GRACE_S, session.another)
        try:
            is_shared = within(session.limit_s + GRACE_S, lambda: _share_a_session(first, second))
        finally:
            second.close()
    except psycopg.Error as error:
        if "statement pooling" in str(error):
            yield Finding(
                "pooler", "fail", "a pooler in statement mode stands in between", f"Use transaction mode: {POOLERS}"
            )
            return
        raise
    if is_shared:
        yield Finding(
            "pooler",
            "warn",
            "a pooler in transaction mode stands in between: NOTIFY does not reach workers, they poll",
            f"Fine for applications; give workers the server itself: {POOLERS}",
        )
    elif not is_named:
        yield Finding("pooler", "ok", "a pooler in session mode stands in between")
    else:
        yield Finding("pooler", "ok", "none in between")


def clock(session: Session) -> Iterator[Finding]:
    """Whether this machine and the database agree about the time, as far as the round trip lets one see."""
    skews = []
    for _ in range(3):
        before_s = time.time()
        [(there,)] = session.ask("SELECT outbox.clock()")
        after_s = time.time()
        skews.append((after_s - before_s, there.timestamp() - (before_s + after_s) / 2))
    took_s, skew_s = min(skews)
    if abs(skew_s) - took_s / 2 > SKEW_S:
        which = "ahead of" if skew_s > 0 else "behind"
        yield Finding(
            "clock",
            "warn",
            f"the database's clock is {abs(skew_s):.0f} s {which} this machine's"
            f" ({datetime.now(UTC).isoformat(timespec='seconds')})",
            "Delivery goes by the database's clock; synchronise both (timedatectl), or logs and schedules mislead",
        )
    else:
        yield Finding("clock", "ok", f"this machine and the database agree within {abs(skew_s) + took_s / 2:.1f} s")


def release(session: Session) -> Iterator[Finding]:
    """Whether the tables and functions are those of this program."""
    [(is_there,)] = session.ask("SELECT to_regclass('outbox.release') IS NOT NULL")
    if not is_there:
        yield Finding("release", "fail", "there is no schema outbox in this database", "outbox migrate")
        return
    digests = session.ask("SELECT digest FROM outbox.release ORDER BY applied_at DESC LIMIT 1")
    if digests == [(release_digest(),)]:
        yield Finding("release", "ok", f"tables are at {head_revision()}, functions are this version's")
        return
    try:
        revision = session.run(schema_revision)
    except psycopg.errors.InsufficientPrivilege:  # for the owner and admins
        revision = "unknown"
    head = head_revision()
    if revision is None or revision in (head, "unknown"):
        found = "functions are another version's"
        remedy = "outbox migrate; if the database is the newer one, install its release"
    else:
        found = f"tables are at {revision}, and this version's at {head}"
        # They are numbers of one width.
        remedy = "outbox migrate" if revision < head else "Install the outbox release that made them, or a newer one"
    yield Finding("release", "fail", found, remedy)


def _round_trip_s(session: Session) -> float:
    began_s = time.perf_counter()
    made = session.connect()
    within(session.limit_s + GRACE_S, lambda: made.execute("SELECT 1"))
    return time.perf_counter() - began_s


def _share_a_session(first: psycopg.Connection[Row], second: psycopg.Connection[Row]) -> bool:
    for _ in range(3):  # a pooler that takes turns needs some
        before = _server_pid(first)
        with second.transaction():
            if _server_pid(second) == before or _server_pid(first) != before:
                return True
    return False


def _server_pid(connection: psycopg.Connection[Row]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
