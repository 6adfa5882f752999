"""A copy of a database delivers nothing until somebody says what becomes of its messages."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

Difference = tuple[str, str | None, str, str]


def check(database: Any, environment: str = "production", **telegram_ids: int) -> list[Difference]:
    return list(
        database.execute(
            "SELECT * FROM outbox.check_identity(%s, %s)", [environment, Jsonb(telegram_ids or {"default": 1})]
        )
    )


def adopt(database: Any, environment: str = "production", *, hold: bool = False, most: int = 5000, **ids: int) -> int:
    held, last_id, until_id, adopted = 0, 0, None, False
    while not adopted:
        [(now_held, last_id, until_id, adopted)] = database.execute(
            "SELECT * FROM outbox.adopt(%s, %s, %s, %s, %s, %s)",
            [environment, Jsonb(ids or {"default": 1}), hold, last_id, until_id, most],
        )
        held += now_held
    return held


def insert(database: Any, count: int = 1, **columns: Any) -> None:
    names, places = "".join(f", {name}" for name in columns), ", %s" * len(columns)
    database.execute(
        f'INSERT INTO outbox.message (chat_id, payload{names}) SELECT n, \'{{"text": "hi"}}\'{places}'
        " FROM generate_series(1, %s) n",
        [*columns.values(), count],
    )


def register(database: Any, name: str = "w") -> int:
    [(worker,)] = database.execute("SELECT outbox.register_worker(%s, '{default}', 'host', 1, 'test')", [name])
    return int(worker)


def remembered(database: Any) -> tuple[str, str, int | None]:
    [row] = database.execute(
        "SELECT i.environment, i.system_identifier, (SELECT telegram_id FROM outbox.bot WHERE bot = 'default')"
        "  FROM outbox.identity i"
    )
    return tuple(row)


@pytest.fixture
def copy(server: Any, db: Any) -> Any:
    """Make a copy of the test's database, once."""
    made = []

    def make() -> Any:
        made.append(server.create_database(str(conninfo_to_dict(db.url)["dbname"])))
        return made[-1]

    yield make
    for database in made:
        server.drop_database(database)


def test_the_first_worker_of_a_fresh_database_says_what_it_is(db: Any) -> None:
    assert db.execute("SELECT FROM outbox.identity_differs('staging', '{\"default\": 7}')") == []
    assert db.execute("SELECT FROM outbox.identity") == [], "asking alone remembers nothing"
    assert check(db, "production", default=1) == []
    [(key,)] = db.execute("SELECT outbox.database_key()")
    assert remembered(db) == ("production", key, 1)
    assert check(db, "production", default=1) == []


def test_a_bot_that_came_later_is_remembered_with_its_first_worker(db: Any) -> None:
    assert check(db, default=1) == []
    assert check(db, default=1, alerts=2) == [], "it is no bot of this database yet"
    db.execute("SELECT outbox.set_bot('alerts')")
    assert check(db, default=1, alerts=2) == []
    assert check(db, alerts=3) == [("telegram_id", "alerts", "2", "3")]


def test_another_environment_or_bot_differs_and_changes_nothing(db: Any) -> None:
    check(db, "production", default=1)
    db.execute("SELECT outbox.set_bot('alerts')")
    assert check(db, "staging", default=2, alerts=5) == [
        ("environment", None, "production", "staging"),
        ("telegram_id", "default", "1", "2"),
    ]
    assert remembered(db)[::2] == ("production", 1)
    assert db.execute("SELECT telegram_id FROM outbox.bot WHERE bot = 'alerts'") == [(None,)]


def test_a_copy_inside_the_same_server_differs(db: Any, copy: Any) -> None:
    check(db)
    [(what, bot, there, here)] = check(copy())
    assert (what, bot) == ("database", None)
    assert there == remembered(db)[1] != here


def test_of_two_first_workers_with_different_bots_the_second_is_told(db: Any) -> None:
    with db.connect(autocommit=False) as first:
        first.execute("SELECT * FROM outbox.check_identity('production', '{\"default\": 1}')")
        with db.connect() as second:
            second.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                second.execute("SELECT * FROM outbox.check_identity('staging', '{\"default\": 2}')")
    assert len(check(db, "staging", default=2)) == 2


def test_adopted_to_be_sent_everything_still_waits(db: Any, copy: Any) -> None:
    check(db)
    insert(db, 3)
    other = copy()
    assert adopt(other, "staging", default=2) == 0
    assert check(other, "staging", default=2) == []
    assert other.execute("SELECT count(*) FROM outbox.message") == [(3,)]
    assert check(db) == [], "the original is left alone"


def test_adopted_to_be_held_what_waits_becomes_dead_letters_and_what_comes_later_goes(db: Any, copy: Any) -> None:
    check(db)
    insert(db, 25, tag="old")
    insert(db, 1, tag="scheduled", next_attempt_at="2099-01-01")
    other = copy()
    assert adopt(other, "staging", hold=True, most=10, default=2) == 26
    assert other.execute(
        "SELECT status, error_class, attempts, count(*), count(DISTINCT chat_id) FROM outbox.history GROUP BY 1, 2, 3"
    ) == [("uncertain", "adopted", 0, 26, 25)]
    assert other.execute("SELECT DISTINCT payload ->> 'text' FROM outbox.dead_letter") == [("hi",)]
    insert(other, 2, tag="new")
    assert other.execute("SELECT DISTINCT tag FROM outbox.due") == [("new",)]
    assert check(other, "staging", default=2) == []
    # The wakeups of what was held are still there, and lead to nothing.
    worker = register(other)
    claimed = other.execute("SELECT message_id, chat_id FROM outbox.claim(%s, '{default}', 50, '[]')", [worker])
    assert sorted(chat for message, chat in claimed if message) == ["1", "2"]


def test_what_a_dead_worker_had_in_flight_is_held_too(db: Any, clock: Any) -> None:
    check(db)
    insert(db, 2)
    worker = register(db)
    claimed = db.execute("SELECT message_id FROM outbox.claim(%s, '{default}', 1, '[]')", [worker])
    assert claimed[0][0] is not None
    with pytest.raises(psycopg.errors.ObjectInUse, match="worker w is alive"):
        adopt(db, "staging", hold=True)
    assert remembered(db)[0] == "production"
    clock.advance(21)
    assert adopt(db, "staging", hold=True) == 2
    assert db.execute("SELECT count(*) FROM outbox.chat WHERE in_flight IS NOT NULL") == [(0,)]
    assert db.execute("SELECT status, count(*) FROM outbox.history GROUP BY 1") == [("uncertain", 2)]


def test_what_was_cancelled_needs_no_person(db: Any) -> None:
    check(db)
    insert(db, 2)
    db.execute("SELECT outbox.cancel((SELECT min(id) FROM outbox.message))")
    assert adopt(db, "staging", hold=True) == 2
    assert db.execute("SELECT status FROM outbox.history ORDER BY id") == [("cancelled",), ("uncertain",)]


def test_bots_that_adopt_was_not_told_of_stay_as_remembered(db: Any) -> None:
    db.execute("SELECT outbox.set_bot('alerts')")
    check(db, default=1, alerts=2)
    adopt(db, default=7)
    assert check(db, default=7, alerts=2) == []


def test_every_batch_is_on_record(db: Any) -> None:
    check(db)
    insert(db, 3)
    adopt(db, "staging", hold=True, most=2, default=2)
    rows = db.execute(
        "SELECT what, count, filter ->> 'adopted', filter ->> 'environment' FROM outbox.audit ORDER BY id"
    )
    assert rows == [
        ("adopt", 2, None, "staging"),
        ("adopt", 1, None, "staging"),
        ("adopt", None, "true", "staging"),
    ]


@pytest.mark.parametrize("arguments", ["'My Lab', '{}', true", "NULL, '{}', true", "'staging', '{}', NULL"])
def test_an_adoption_that_does_not_say_enough_is_refused(db: Any, arguments: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute(f"SELECT * FROM outbox.adopt({arguments})")
