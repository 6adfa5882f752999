"""Indexes that an upgrade brings to history: no complete waits for them, and days that are past get theirs."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.database.migrate import migrate
from tests.conftest import Clock, Database

MISSING = """
    SELECT count(*) FROM pg_index i JOIN pg_inherits h ON h.inhparent = i.indrelid
     WHERE i.indrelid IN ('outbox.attempt'::regclass, 'outbox.finished'::regclass)
       AND NOT EXISTS (SELECT FROM pg_inherits c JOIN pg_index ci ON ci.indexrelid = c.inhrelid
                        WHERE c.inhparent = i.indexrelid AND ci.indrelid = h.inhrelid)
"""


def days(db: Database) -> int:
    return int(db.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox.finished'::regclass")[0][0])


def fill(db: Database, at: str) -> None:
    """More than 8 MB that ended at that time."""
    db.execute(
        "INSERT INTO outbox.finished (id, bot, chat_id, method, priority, status, correlation_id, created_at,"
        "                             scheduled_for, finished_at, attempts, error_text)"
        f" SELECT i, 'default', '1', 'sendMessage', 2, 'sent', i::text, now(), now(), {at}, 1, repeat('x', 900)"
        "   FROM generate_series(1, 12000) i"
    )


@pytest.fixture
def without(db: Database) -> Database:
    """A database as an upgrade leaves it: the table has its index, the days that were there have not."""
    db.execute("DROP INDEX outbox.finished_chat")
    db.execute("CREATE INDEX finished_chat ON ONLY outbox.finished (chat_id, id)")
    assert db.execute(MISSING) == [(days(db),)]
    return db


def test_every_day_gets_the_index_that_it_lacks(without: Database) -> None:
    calls = 0
    while without.execute("SELECT outbox.index_history()") == [(1,)]:
        calls += 1
    assert calls == days(without)
    assert without.execute(MISSING) == [(0,)]
    assert without.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'outbox.finished_chat'::regclass") == [
        (True,)
    ]


def test_a_day_made_meanwhile_has_it(without: Database) -> None:
    before = without.execute(MISSING)
    without.execute("SELECT outbox.make_partitions(20)")
    assert without.execute(MISSING) == before


def test_the_day_that_is_written_to_waits_until_it_is_past(db: Database, clock: Clock) -> None:
    fill(db, "now()")
    db.execute("DROP INDEX outbox.finished_chat")
    db.execute("CREATE INDEX finished_chat ON ONLY outbox.finished (chat_id, id)")
    while db.execute("SELECT outbox.index_history()") == [(1,)]:
        pass
    assert db.execute(MISSING) == [(1,)]
    # Shortly after midnight a worker may still bring results of the day before.
    [(until_midnight,)] = db.execute(
        "SELECT extract(epoch FROM date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day'"
        "                          - now() AT TIME ZONE 'UTC')::float8"
    )
    clock.advance(until_midnight + 7100)
    assert db.execute("SELECT outbox.index_history()") == [(0,)]
    clock.advance(200)
    assert db.execute("SELECT outbox.index_history(), outbox.index_history()") == [(1, 0)]
    assert db.execute(MISSING) == [(0,)]


def test_a_large_default_partition_gets_its_index_when_nobody_writes_there_as_a_rule(
    db: Database, clock: Clock
) -> None:
    fill(db, "now() - interval '2 years'")
    db.execute("DROP INDEX outbox.finished_chat")
    db.execute("CREATE INDEX finished_chat ON ONLY outbox.finished (chat_id, id)")
    clock.advance(100 * 86400)  # of this day there is no partition: results go to the default one
    while db.execute("SELECT outbox.index_history()") == [(1,)]:
        pass
    assert db.execute(MISSING) == [(1,)]
    clock.advance(-100 * 86400)
    assert db.execute("SELECT outbox.index_history(), outbox.index_history()") == [(1, 0)]
    assert db.execute(MISSING) == [(0,)]


@pytest.mark.parametrize(
    ("at", "since", "lacks"),
    [
        ("now()", "now() - interval '15 min'", True),
        ("now() - interval '1 day'", "now()", False),
        ("now() - interval '1 day'", "now() - interval '1 day'", True),
        ("now() - interval '2 years'", "now()", True),
    ],
)
def test_what_is_too_large_to_be_read_without_its_index_is_known(
    db: Database, at: str, since: str, lacks: bool
) -> None:
    asked = f"SELECT outbox.lacks_index('finished_unsent', {since})"
    fill(db, at)
    assert db.execute(asked) == [(False,)]
    db.execute("DROP INDEX outbox.finished_unsent")
    db.execute("CREATE INDEX finished_unsent ON ONLY outbox.finished (finished_at) WHERE status <> 'sent'")
    assert db.execute(asked) == [(lacks,)]
    db.execute("TRUNCATE outbox.finished")
    assert db.execute(asked) == [(False,)]


def test_a_second_migrate_makes_none_anew(db: Database) -> None:
    indexes: Any = (
        "SELECT oid FROM pg_class WHERE relkind IN ('i', 'I') AND relnamespace = 'outbox'::regnamespace ORDER BY 1"
    )
    before = db.execute(indexes)
    migrate(db.url)
    assert db.execute(indexes) == before
