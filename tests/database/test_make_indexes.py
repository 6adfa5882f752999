"""An upgrade's indexes on the tables of delivery: made last, and neither side waits for the other for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from outbox.database.migrate import migrate, migrate_sql
from tests.conftest import Database
from tests.invariants.calls import Connection, claim, finish, insert, register
from tests.invariants.sessions import Session
from tests.operate.dead_letters import die, operate, unlimited

INDEXES = (
    "chat_suppressed",
    "chat_moved",
    "dead_letter_chat",
    "dead_letter_order",
    "finished_chat",
    "finished_bot",
    "finished_tag",
    "finished_class",
    "finished_status",
    "finished_unsent",
    "attempt_answered",
)
MISSING = "SELECT count(*) FROM unnest(%s::text[]) name WHERE to_regclass('outbox.' || name) IS NULL"
GATE = 4711


@pytest.fixture
def before(db: Database) -> Database:
    """A database as the release before left it, without the indexes."""
    db.execute(f"DROP INDEX {', '.join('outbox.' + name for name in INDEXES)}")
    assert db.execute(MISSING, [list(INDEXES)]) == [(len(INDEXES),)]
    return db


@pytest.fixture
def upgrade(before: Database) -> Iterator[Callable[[], Future[None]]]:
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield lambda: thread.submit(migrate, before.url)


@pytest.fixture
def open_session(before: Database) -> Iterator[Callable[[], Session]]:
    opened: list[Session] = []

    def open_one() -> Session:
        opened.append(Session(before.url))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


def complete(connection: Connection) -> str:
    worker = register(connection)
    finish(connection, worker, claim(connection, worker).lanes, "dead", error_class="bad_request")
    return "SELECT count(*) FROM outbox.dead_letter"


def claim_what_expired(connection: Connection) -> str:
    claim(connection, register(connection))
    return "SELECT count(*) FROM outbox.finished"


def retry(connection: Connection) -> str:
    operate(connection, "retry", p_class="bad_request")
    return "SELECT count(*) FROM outbox.message WHERE chat_id = '2'"


def discard(connection: Connection) -> str:
    operate(connection, "discard", p_class="bad_request")
    return "SELECT count(*) FROM outbox.finished"


@pytest.mark.parametrize(
    ("call", "event"),
    [
        (complete, "DELETE ON outbox.message"),  # it holds its chat, and has written nothing else
        (complete, "INSERT ON outbox.dead_letter"),
        (complete, "INSERT ON outbox.attempt"),
        (complete, "UPDATE ON outbox.chat"),
        (claim_what_expired, "DELETE ON outbox.message"),
        (claim_what_expired, "INSERT ON outbox.finished"),
        (retry, "DELETE ON outbox.dead_letter"),
        (retry, "INSERT ON outbox.message"),
        (discard, "DELETE ON outbox.dead_letter"),
        (discard, "INSERT ON outbox.finished"),
    ],
)
def test_who_has_come_this_far_when_the_upgrade_comes_ends_and_then_the_upgrade(
    before: Database,
    upgrade: Callable[[], Future[None]],
    open_session: Callable[[], Session],
    call: Callable[[Connection], str],
    event: str,
) -> None:
    keeper, watcher, other = open_session(), open_session(), open_session()
    unlimited(watcher.connection)
    if call in (retry, discard):
        die(watcher.connection, 2)
    else:
        expires = "now() - interval '1 min'" if call is claim_what_expired else "NULL"
        message = insert(watcher.connection, 1)
        watcher.connection.execute(f"UPDATE outbox.message SET expires_at = {expires} WHERE id = {message}")
    before.execute(
        "CREATE FUNCTION public.pass_the_gate() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN coalesce(NEW, OLD); END $$"
    )
    before.execute(f"CREATE TRIGGER gate BEFORE {event} FOR EACH ROW EXECUTE FUNCTION public.pass_the_gate()")

    keeper.begin().execute(f"SELECT pg_advisory_xact_lock({GATE})")
    paused = other.start(call)
    assert other.waits(paused)
    upgrading = upgrade()
    until_the_upgrade_waits(watcher.connection, upgrading)
    keeper.commit()
    counted = paused.result(timeout=20)
    upgrading.result(timeout=60)
    assert before.execute(counted) == [(1,)]
    assert before.execute(MISSING, [list(INDEXES)]) == [(0,)]
    # Nobody was sacrificed to end a deadlock.
    assert before.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def until_the_upgrade_waits(watcher: Connection, upgrading: Future[None]) -> None:
    while not upgrading.done():
        if watcher.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'outbox migrate'"
            "   AND wait_event_type = 'Lock'"
        ).fetchall():
            return


def test_nothing_waits_for_an_upgrade_that_waits_for_its_other_locks(
    before: Database, upgrade: Callable[[], Future[None]], open_session: Callable[[], Session]
) -> None:
    """Here for the policy of bots, which a person has changed and not committed."""
    holder, watcher = open_session(), open_session()
    insert(watcher.connection, 1)
    holder.begin().execute("LOCK TABLE outbox.bot IN SHARE UPDATE EXCLUSIVE MODE")
    upgrading = upgrade()
    until_the_upgrade_waits(watcher.connection, upgrading)
    assert not upgrading.done()
    watcher.connection.execute("SET lock_timeout = '1s'")
    watcher.connection.execute("SELECT FROM outbox.chat FOR UPDATE")
    with watcher.connection.transaction():
        for table in ("chat", "dead_letter", "finished", "attempt"):
            watcher.connection.execute(f"LOCK TABLE outbox.{table} IN ROW EXCLUSIVE MODE")
    holder.commit()
    upgrading.result(timeout=60)


def test_a_later_migrate_takes_no_lock_on_the_tables_of_delivery(db: Database) -> None:
    with db.connect(autocommit=False) as connection:
        assert connection.execute("SELECT outbox.make_indexes()").fetchall() == [(0,)]
        locked = connection.execute(
            "SELECT relation::regclass::text, mode FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND mode <> 'AccessShareLock' AND relation = ANY ("
            "       ARRAY['outbox.chat', 'outbox.dead_letter', 'outbox.finished', 'outbox.attempt']::regclass[])"
        ).fetchall()
    assert locked == []


def test_the_indexes_are_the_last_that_waits_in_the_script_for_a_dba() -> None:
    script = migrate_sql(since="0008")
    after = script[script.index("SELECT outbox.make_indexes();") :]
    assert [line for line in after.splitlines() if line.startswith(("ALTER", "CREATE", "COMMENT", "LOCK"))] == []
