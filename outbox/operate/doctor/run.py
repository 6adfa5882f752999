"""The checks in their order, each within its time; one that fails is a finding, and the rest go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import psycopg

from outbox.database.connect import database_url
from outbox.operate.doctor import machine, server
from outbox.operate.doctor.finding import Finding, Verdict, failure
from outbox.operate.doctor.session import NoAnswerError, Session
from outbox.operate.explain import OLDER_SCHEMA, explain
from outbox.redact import scrub
from outbox.settings import Settings, UsageError

LIMIT_S: Final = 5.0  # of one check
TOTAL_S: Final = 60.0  # what has not begun by then is not checked

# Of outbox.examine, in its order.
EXAMINED: Final = (
    "connections",
    "transactions",
    "vacuum",
    "roles",
    "partitions",
    "housekeeping",
    "batches",
    "workers",
    "bots",
    "lanes",
    "wakeups",
    "dead letters",
    "suppressed chats",
)
_VERDICTS: Final[dict[str, Verdict]] = {"ok": "ok", "warn": "warn", "fail": "fail"}

Check = Callable[[], Iterator[Finding]]


def examine(settings: Settings, limit_s: float = LIMIT_S, total_s: float = TOTAL_S) -> Iterator[Finding]:
    """Yield the findings as they are made; changes nothing. Never raises for what is wrong with the installation."""
    until_s = time.monotonic() + total_s
    try:
        with database_url(settings, "doctor") as url:
            yield from _examine_database(Session(url, limit_s), settings, until_s)
    except (UsageError, OSError) as error:  # no database is named, or the embedded one cannot be joined
        told = [failure("connection", scrub(str(error)))]
        yield from machine.embedded_server(settings) or told if "is not set" in told[0].finding else told
        yield from machine.tokens(None, settings)
    yield from machine.spool(settings)


def _examine_database(session: Session, settings: Settings, until_s: float) -> Iterator[Finding]:
    try:
        reached = list(server.connection(session))
        yield from reached
        if reached[-1].verdict == "fail":
            yield from machine.tokens(None, settings)
            return
        yield from _guard("server", lambda: server.server(session), session)
        yield from _guard("pooler", lambda: server.pooler(session), session)
        releases = list(_guard("release", lambda: server.release(session), session))
        yield from releases
        if any(finding.finding.startswith("there is no schema") for finding in releases):
            yield from machine.tokens(None, settings)
            return
        checks: list[tuple[str, Check]] = [
            ("clock", lambda: server.clock(session)),
            ("identity", lambda: machine.identity(session, settings)),
            ("tokens", lambda: machine.tokens(session, settings)),
        ]
        checks += [(name, _ask_for(name, session)) for name in EXAMINED]
        yield from _run(checks, session, until_s)
    finally:
        session.close()


def _run(checks: list[tuple[str, Check]], session: Session, until_s: float) -> Iterator[Finding]:
    for number, (name, check) in enumerate(checks):
        left = ", ".join(name for name, _ in checks[number:])
        if time.monotonic() > until_s:
            yield Finding("time", "fail", f"all took too long; not checked: {left}", "See the checks that timed out")
            return
        try:
            session.connect()
        except (psycopg.Error, NoAnswerError) as error:
            text = str(error) if isinstance(error, NoAnswerError) else explain(error)
            yield Finding("connection", "fail", f"lost, and not checked: {left}. {text}", "Look at the server's log")
            return
        yield from _guard(name, check, session)


def _guard(name: str, check: Check, session: Session) -> Iterator[Finding]:
    """Yield the check's findings, or one that says why there are none."""
    try:
        yield from list(check())
    except NoAnswerError as error:
        yield Finding(name, "fail", f"not checked: {error}", "The server hangs: look at its machine and its log")
    except psycopg.errors.QueryCanceled:
        text = f"not checked: it took longer than {session.limit_s:g} s"
        yield Finding(name, "fail", text, "outbox doctor --timeout-s 60; look at what else the server does")
    except psycopg.errors.LockNotAvailable:
        yield Finding(
            name,
            "fail",
            "not checked: a lock is held for long, by a migration or ALTER TABLE",
            "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock';",
        )
    except psycopg.errors.InsufficientPrivilege as error:
        text = f"not checked: {error.diag.message_primary}"
        yield Finding(name, "warn", text, "Connect as a member of outbox_reader, outbox_worker or outbox_admin")
    except OLDER_SCHEMA as error:
        yield Finding(name, "warn", f"not checked: {error.diag.message_primary}", "outbox migrate")
    except psycopg.Error as error:
        yield Finding(name, "fail", f"not checked: {explain(error)}", "Look at the server's log")


def _ask_for(name: str, session: Session) -> Check:
    def ask() -> Iterator[Finding]:
        for row in session.ask("SELECT name, verdict, finding, remedy FROM outbox.examine(%s)", (name,)):
            yield Finding(row[0], _VERDICTS[row[1]], row[2], row[3])

    return ask
