"""wait returns when the message has ended: woken by a notification, or by looking where none can come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy

import outbox
from outbox.accept import door, via_psycopg, wait
from tests.accept.connections import ASYNC_KINDS, KINDS, SYNC_KINDS, connected, done, opened
from tests.invariants.calls import claim, finish, insert, register

SOON_S = 20.0  # for what takes milliseconds, on a machine that is busy
NEVER_S = 30.0


@pytest.fixture
def only_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look so seldom that only a notification can end a wait in time."""
    monkeypatch.setattr(wait, "FIRST_LOOK_S", NEVER_S)
    monkeypatch.setattr(wait, "LAST_LOOK_S", NEVER_S)


def _waiting(kind: str, connection: Any, message_id: int, timeout_s: float = NEVER_S) -> asyncio.Future[outbox.Status]:
    """Wait in a task, or in a thread if the connection is sync."""
    if kind in SYNC_KINDS:
        return asyncio.ensure_future(asyncio.to_thread(outbox.wait, connection, message_id, timeout_s))
    return asyncio.ensure_future(outbox.wait(connection, message_id, timeout_s))


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.01)


async def _until_watched(db: Any) -> None:
    await _until(lambda: db.execute("SELECT id FROM outbox.watch"))


def _end(db: Any, outcome: str = "sent", **columns: Any) -> None:
    """Send what is first in its lane, as a worker does."""
    with db.connect() as connection:
        worker = register(connection)
        lanes = claim(connection, worker).lanes
        finish(connection, worker, lanes, outcome, **columns)
        connection.execute("SELECT outbox.leave(%s)", [worker])


def _message(db: Any) -> int:
    with db.connect() as connection:
        return insert(connection, 42)


def _left_behind(db: Any) -> list[tuple[Any, ...]]:
    """What others than this query's own connection are at, but for idling."""
    return db.execute(
        "SELECT state, query FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
    )


@pytest.mark.usefixtures("only_notified")
@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_waits_is_told_of_the_end_and_gets_the_connection_back_idle(db, kind):
    message_id = _message(db)
    async with connected(kind, db.url) as connection:
        waiting = _waiting(kind, connection, message_id)
        await _until_watched(db)
        _end(db, telegram_message_id=7)
        async with asyncio.timeout(SOON_S):
            status = await waiting
        assert status.ended
        assert (status.status, status.telegram_message_id) == ("sent", 7)
        assert _left_behind(db) == []
        assert await _channels(connection) == []


async def _channels(connection: Any) -> list[str]:
    query = "SELECT pg_listening_channels()"
    if hasattr(connection, "fetch"):
        return [row[0] for row in await connection.fetch(query)]
    if type(connection).__module__.startswith("psycopg"):
        cursor = await done(connection.execute(query))
        return [row[0] for row in await done(cursor.fetchall())]
    result = await done(connection.execute(sqlalchemy.text(query)))
    return [row[0] for row in result.fetchall()]


@pytest.mark.usefixtures("only_notified")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_that_has_ended_is_not_waited_for(db, kind):
    message_id = _message(db)
    _end(db, "dead", error_class="blocked", error_text="Forbidden: bot was blocked by the user")
    async with connected(kind, db.url) as connection, asyncio.timeout(SOON_S):
        status = await _waiting(kind, connection, message_id)
    assert (status.status, status.error_class, status.ended) == ("dead", "blocked", True)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_last_status_is_returned_when_the_time_is_up(db, kind):
    message_id = _message(db)
    async with connected(kind, db.url) as connection:
        for timeout_s in (0, 0.3):
            status = await _waiting(kind, connection, message_id, timeout_s)
            assert (status.status, status.ended) == ("queued", False)
        status = await _waiting(kind, connection, 4711, 0.1)
        assert (status.status, status.ended, status.attempts) == ("unknown", False, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_inside_a_transaction_is_refused_and_left_as_it_is(db, kind):
    async with opened(kind, db.url) as transaction:
        message_id = await done(outbox.enqueue(transaction.connection, 42, {}))
        with pytest.raises(RuntimeError, match=r"inside a transaction\. Commit first: a message is sent only"):
            await done(outbox.wait(transaction.connection, message_id, 0.1))
        await transaction.commit()
    assert db.execute("SELECT id FROM outbox.message") == [(message_id,)]


@pytest.mark.usefixtures("only_notified")
@pytest.mark.parametrize("kind", ASYNC_KINDS)
async def test_a_cancelled_wait_leaves_the_connection_usable_idle_and_deaf(db, kind):
    message_id = _message(db)
    async with connected(kind, db.url) as connection:
        waiting = _waiting(kind, connection, message_id)
        await _until_watched(db)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert _left_behind(db) == []
        assert await _channels(connection) == []
        assert (await outbox.status(connection, message_id)).status == "queued"


@pytest.mark.parametrize("kind", ["psycopg async", "asyncpg", "async connection", "async session asyncpg"])
async def test_a_wait_may_be_cancelled_at_any_moment(db, kind):
    message_id = _message(db)
    for moment in range(40):
        async with connected(kind, db.url) as connection:
            waiting = _waiting(kind, connection, message_id)
            for _ in range(moment):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await _until(lambda: _left_behind(db) == [])  # asyncpg's cancel of a query comes a little later
            assert await _channels(connection) == []
            assert (await outbox.status(connection, message_id)).status == "queued"


@pytest.mark.parametrize("kind", ["psycopg", "psycopg async"])
async def test_a_psycopg_connection_that_listens_keeps_its_notifications(db, kind):
    message_id = _message(db)
    async with connected(kind, db.url) as connection:
        await done(connection.set_autocommit(True))
        await done(connection.execute("LISTEN mine"))
        waiting = _waiting(kind, connection, message_id)
        await _until_watched(db)
        db.execute("NOTIFY mine, 'during'")
        _end(db)
        async with asyncio.timeout(SOON_S):
            assert (await waiting).ended
        db.execute("NOTIFY mine, 'after'")
        assert await _notified(connection, 2) == ["during", "after"]
        assert await _channels(connection) == ["mine"]


async def _notified(connection: Any, count: int) -> list[str]:
    notifies = connection.notifies(timeout=SOON_S, stop_after=count)
    if isinstance(connection, psycopg.AsyncConnection):
        return [notify.payload async for notify in notifies]
    return [notify.payload for notify in notifies]


async def test_a_psycopg_connection_with_a_handler_has_it_called(db):
    message_id, heard = _message(db), []
    with db.connect() as connection:
        connection.add_notify_handler(lambda notify: heard.append(notify.payload))
        connection.execute("LISTEN mine")
        waiting = _waiting("psycopg", connection, message_id)
        await _until_watched(db)
        db.execute("NOTIFY mine, 'during'")
        _end(db)
        async with asyncio.timeout(SOON_S):
            assert (await waiting).ended
    assert heard == ["during"]


@pytest.mark.parametrize("kind", ["psycopg", "psycopg async"])
async def test_no_notification_of_ours_is_left_on_a_psycopg_connection(db, kind, monkeypatch):
    message_id, rows, rows_async = _message(db), via_psycopg._rows, via_psycopg._rows_async

    def then_notify(*given: Any) -> Any:
        brought = rows(*given)
        db.execute("SELECT pg_notify('outbox_ended', '4711')")
        return brought

    async def then_notify_async(*given: Any) -> Any:
        brought = await rows_async(*given)
        db.execute("SELECT pg_notify('outbox_ended', '4711')")
        return brought

    monkeypatch.setattr(via_psycopg, "_rows", then_notify)
    monkeypatch.setattr(via_psycopg, "_rows_async", then_notify_async)
    async with connected(kind, db.url) as connection:
        assert (await _waiting(kind, connection, message_id, 0)).status == "queued"
        await done(connection.set_autocommit(True))
        await done(connection.execute("LISTEN mine"))
        db.execute("NOTIFY mine, 'first'")
        assert await _notified(connection, 1) == ["first"]


@pytest.mark.usefixtures("only_notified")
async def test_listeners_of_an_asyncpg_connection_stay_and_are_called(db):
    message_id, heard = _message(db), []
    async with connected("asyncpg", db.url) as connection:
        await connection.add_listener("mine", lambda *note: heard.append(note[3]))
        await connection.add_listener("outbox_ended", lambda *note: heard.append(note[3]))
        waiting = _waiting("asyncpg", connection, message_id)
        await _until_watched(db)
        db.execute("NOTIFY mine, 'during'")
        _end(db)
        async with asyncio.timeout(SOON_S):
            assert (await waiting).ended
        db.execute("NOTIFY mine, 'after'")
        await _until(lambda: len(heard) == 3)
        assert heard == ["during", str(message_id), "after"]
        assert sorted(await _channels(connection)) == ["mine", "outbox_ended"]
        await connection.reset()


@pytest.mark.parametrize("kind", ["psycopg", "psycopg async", "asyncpg", "session", "async session asyncpg"])
async def test_where_no_notification_comes_through_it_looks(db, kind):
    """As behind PgBouncer, whose server connection may be another one each time."""
    message_id = _message(db)
    async with connected(kind, db.url) as connection:
        waiting = _waiting(kind, connection, message_id)
        await _until_watched(db)
        db.execute("DELETE FROM outbox.watch")
        _end(db)
        async with asyncio.timeout(SOON_S):
            assert (await waiting).status == "sent"


def test_a_pipeline_is_refused(db):
    with (
        db.connect() as connection,
        connection.pipeline(),
        pytest.raises(RuntimeError, match=r"is in pipeline mode.*Leave it first"),
    ):
        outbox.wait(connection, 1)


@pytest.mark.parametrize("kind", ["connection", "session"])
@pytest.mark.parametrize("isolation", [None, "AUTOCOMMIT"])
async def test_on_a_driver_that_only_sqlalchemy_knows_it_looks(db, kind, isolation, monkeypatch):
    monkeypatch.delitem(door.DRIVERS, ("psycopg", "Connection"))
    message_id = _message(db)
    async with connected(kind, db.url) as connection:
        if isolation is not None:
            bind = connection.get_bind() if kind == "session" else connection
            bind = bind.execution_options(isolation_level=isolation)
            if kind == "session":
                connection.bind = bind
        waiting = _waiting(kind, connection, message_id)
        await _until_watched(db)
        assert _left_behind(db) == []
        _end(db)
        async with asyncio.timeout(SOON_S):
            assert (await waiting).status == "sent"
        assert _left_behind(db) == []
        if isolation is None:
            await done(connection.execute(sqlalchemy.text("SELECT 1")))
            with pytest.raises(RuntimeError, match="Commit first"):
                await _waiting(kind, connection, message_id)


async def test_a_connection_in_autocommit_may_have_been_used_before(db):
    message_id = _message(db)
    engine = sqlalchemy.create_engine(
        db.url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        assert connection.in_transaction()
        assert outbox.wait(connection, message_id, 0.1).status == "queued"
    engine.dispose()


async def test_a_session_bound_to_a_connection_waits_on_that(db):
    message_id = _message(db)
    async with connected("connection", db.url) as connection:
        with sqlalchemy.orm.Session(bind=connection) as session:
            assert outbox.wait(session, message_id, 0.1).status == "queued"
            connection.execute(sqlalchemy.text("SELECT 1"))
            with pytest.raises(RuntimeError, match="Commit first"):
                outbox.wait(session, message_id, 0.1)


@pytest.mark.parametrize("kind", ["psycopg", "psycopg async", "asyncpg", "session", "async session asyncpg"])
async def test_a_connection_that_breaks_meanwhile_raises_the_drivers_error(db, kind):
    message_id = _message(db)
    broken = (psycopg.OperationalError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
    with pytest.raises(broken):  # noqa: PT012 - the connection's own end may raise it as well
        async with connected(kind, db.url) as connection:
            waiting = _waiting(kind, connection, message_id)
            await _until_watched(db)
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            async with asyncio.timeout(SOON_S):
                await waiting


async def test_a_wait_looks_sooner_at_first_and_seldom_later(monkeypatch):
    """Without a database: the steps themselves, on a clock of their own."""
    now_s, pauses = 0.0, []
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    steps = wait._waiting(1, 10.0)
    step = next(steps)
    queued = [(_QUEUED,)]
    with pytest.raises(StopIteration):  # noqa: PT012 - the loop ends with it
        while True:
            if isinstance(step, wait.Pause):
                pauses.append(round(step.seconds, 2))
                now_s += step.seconds
            step = steps.send(queued)
    assert pauses == [0.2, 0.3, 0.45, 0.68, 1.01, 1.52, 2.0, 2.0, 1.84]


_QUEUED = (
    '{"status": "queued", "attempts": 0, "next_attempt_at": null, "finished_at": null, "telegram_message_id": null,'
    ' "error_class": null, "error_text": null, "cancel_requested": false}'
)


@pytest.mark.parametrize("timeout_s", [-1, float("nan"), -float("inf")])
def test_a_timeout_that_is_none_is_refused(db, timeout_s):
    with db.connect() as connection, pytest.raises(ValueError, match=r"timeout_s is .*Give seconds"):
        outbox.wait(connection, 1, timeout_s)


def test_a_timeout_may_be_longer_than_a_watch(db):
    message_id = _message(db)
    _end(db)
    with db.connect() as connection:
        for timeout_s in (1e6, float("inf")):
            assert outbox.wait(connection, message_id, timeout_s).status == "sent"


def test_what_is_no_id_is_refused(db):
    with db.connect() as connection:
        for wrong, error in (("1", TypeError), (True, TypeError), (None, TypeError), (2**63, ValueError)):
            for call in (outbox.wait, outbox.status):
                with pytest.raises(error, match="id is"):
                    call(connection, wrong)
