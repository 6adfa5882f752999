"""Steps on SQLAlchemy's Connection, Session and their async kin."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy

from outbox.accept.door import driver_of
from outbox.accept.steps import IN_A_TRANSACTION, IdleStep, IdleSteps, Pause, Query, Rows, Steps, T, drive

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session
    from typing_extensions import TypeIs

    Own = Connection | Session
    AsyncOwn = AsyncConnection | AsyncSession
    Given = Own | AsyncOwn | scoped_session[Any] | async_scoped_session[Any]

PLACEHOLDER: Final = re.compile(r"\$\d+")


def run(connection: Given, steps: Steps[T]) -> T | Awaitable[T]:
    """Do the steps in the caller's transaction; see outbox.accept.door.run."""
    return _called(connection, lambda own: drive(steps, partial(_rows, _core(own))))


def run_idle(connection: Given, steps: IdleSteps[T]) -> T | Awaitable[T]:
    """Do the steps in transactions of their own; see outbox.accept.door.run_idle."""
    return _called(connection, lambda own: _run_idle(own, steps))


def _called(connection: Given, act: Callable[[Own], T]) -> T | Awaitable[T]:
    """Call `act` with the connection or session that there is behind a scope and an async face."""
    own: Own | AsyncOwn = connection() if callable(connection) else connection
    return own.run_sync(act) if _is_async(own) else act(own)


def _is_async(own: Own | AsyncOwn) -> TypeIs[AsyncOwn]:
    # By name: sqlalchemy.ext.asyncio cannot be imported everywhere, it needs greenlet.
    return any(base.__module__.startswith("sqlalchemy.ext.asyncio") for base in type(own).__mro__)


def _core(own: Own) -> Connection:
    return own if isinstance(own, sqlalchemy.Connection) else own.connection()


def _rows(connection: Connection, query: Query) -> Rows:
    # The driver's own text: compiling thousands of bound parameters took longer than inserting them.
    numbered = connection.dialect.paramstyle == "numeric_dollar"
    text = query.text if numbered else PLACEHOLDER.sub("%s", query.text)
    try:
        return connection.exec_driver_sql(text, tuple(query.parameters)).fetchall()
    except sqlalchemy.exc.StatementError as error:
        error.hide_parameters = True  # they hold the payload, and its text goes to logs
        raise


def _run_idle(own: Own, steps: IdleSteps[T]) -> T:
    with _idle(own) as core:
        pooled = core.connection
        known = driver_of(pooled.driver_connection)
        if known is None:
            return drive(steps, _Looking(core))
        if not core.dialect.is_async:
            result: T = known.run_idle(pooled.driver_connection, steps)
            return result
        adapted: Any = pooled.dbapi_connection
        waited: T = adapted.run_async(lambda raw: known.run_idle(raw, steps))
        return waited


@contextmanager
def _idle(own: Own) -> Iterator[Connection]:
    """Yield a connection on which nothing was begun: to ask a session for its own begins its transaction."""
    if isinstance(own, sqlalchemy.Connection) or own.in_transaction():
        yield _core(own)
        return
    bind = own.get_bind()
    if isinstance(bind, sqlalchemy.Connection):
        yield bind
        return
    with bind.connect() as core:
        yield core


class _Looking:
    """Does steps on a driver that outbox does not know: it cannot listen, so it only looks."""

    def __init__(self, connection: Connection) -> None:
        # One that commits by itself is in a transaction in SQLAlchemy's books only.
        if connection.in_transaction() and not getattr(connection.connection.driver_connection, "autocommit", False):
            raise RuntimeError(IN_A_TRANSACTION)
        self._connection = connection

    def __call__(self, step: IdleStep) -> Rows:
        match step:
            case Query():
                try:
                    rows = _rows(self._connection, step)
                except BaseException:
                    self._connection.rollback()
                    raise
                self._connection.commit()
                return rows
            case Pause():
                time.sleep(step.seconds)
        return ()
