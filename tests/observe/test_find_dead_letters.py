"""find_dead_letters, dead_letter_groups, count_dead_letters: the conditions of retry, read only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from tests.conftest import Database
from tests.invariants.calls import Connection
from tests.observe.filled import fill_history
from tests.operate.dead_letters import die, operate, unlimited


def ask(connection: Connection, function: str, **conditions: Any) -> list[dict[str, Any]]:
    named = [sql.SQL("p_{} => {}").format(sql.SQL(name), sql.Literal(value)) for name, value in conditions.items()]
    query = sql.SQL("SELECT * FROM outbox.{}({})").format(sql.SQL(function), sql.SQL(", ").join(named))
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def test_dead_letters_are_found_by_what_retry_would_take(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=400, waiting=0, chats=10)
    now = datetime.now(UTC)
    conditions: list[dict[str, Any]] = [
        {},
        {"bot": "Alerts"},
        {"class": "timeout"},
        {"tag": "sale"},
        {"text": "NEEDLE in"},
        {"text": "%"},
        {"status": "uncertain"},
        {"since": now - timedelta(days=9), "until": now - timedelta(days=3)},
        {"bot": "default", "class": "bad_request", "tag": "sale", "status": "dead", "text": "number"},
    ]
    for condition in conditions:
        found = ask(connection, "find_dead_letters", limit=1000, **condition)
        places = [(row["died_at"], row["id"]) for row in found]
        assert places == sorted(places, reverse=True)
        [(count,)] = connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchall()
        expected = operate(connection, "retry", **{"p_until": now} | {f"p_{k}": v for k, v in condition.items()},
                           p_dry_run=True)  # fmt: skip
        assert (len(found), count) == (expected, 400)
        assert ask(connection, "count_dead_letters", **condition) == [{"count_dead_letters": expected}]
        groups = ask(connection, "dead_letter_groups", **condition)
        assert sum(group["count"] for group in groups) == expected
        for group in groups:
            same = [row for row in found if all(row[key] == group[key] for key in ("bot", "error_class", "status"))]
            assert (group["sample_id"], group["sample_text"]) == (same[0]["id"], same[0]["error_text"])
            assert (group["first_at"], group["last_at"]) == (same[-1]["died_at"], same[0]["died_at"])


def test_pages_go_on_at_the_last_death(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=300, waiting=0, chats=10)
    db.execute("UPDATE outbox.dead_letter SET died_at = date_trunc('day', died_at)")
    seen: list[dict[str, Any]] = []
    while page := ask(
        connection,
        "find_dead_letters",
        limit=7,
        **({"before_at": seen[-1]["died_at"], "before_id": seen[-1]["id"]} if seen else {}),
    ):
        seen += page
    assert len({row["id"] for row in seen}) == len(seen) == 300


def test_ids_are_counted_too_with_the_other_conditions(connection: Connection) -> None:
    unlimited(connection)
    dead = [die(connection, chat, "timeout" if chat % 2 else "blocked") for chat in range(1, 5)]
    assert ask(connection, "count_dead_letters", ids=[*dead[:3], 4711]) == [{"count_dead_letters": 3}]
    assert ask(connection, "count_dead_letters", ids=dead[:3], **{"class": "timeout"}) == [{"count_dead_letters": 2}]


def test_counting_stops_where_it_is_told_to(db: Database, connection: Connection) -> None:
    fill_history(db, finished=0, dead=2000, waiting=0, chats=10)
    query = (
        "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname = 'dead_letter'"
    )
    with connection.transaction():
        assert ask(connection, "count_dead_letters", most=101) == [{"count_dead_letters": 101}]
        [(read,)] = connection.execute(query).fetchall()
    assert read < 200
    ids = [id_ for (id_,) in connection.execute("SELECT id FROM outbox.dead_letter").fetchall()]
    assert ask(connection, "count_dead_letters", ids=ids, most=101) == [{"count_dead_letters": 101}]
    assert ask(connection, "count_dead_letters", most=2001) == [{"count_dead_letters": 2000}]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="p_most 0 is no number to count up to"):
        ask(connection, "count_dead_letters", most=0)


def test_a_reader_sees_them_without_their_payload(connection: Connection) -> None:
    unlimited(connection)
    die(connection, 1, payload={"text": "secret"})
    connection.execute("SET ROLE outbox_reader")
    for function in ("find_dead_letters", "dead_letter_groups", "count_dead_letters"):
        rows = ask(connection, function)
        assert len(rows) == 1
        assert "secret" not in str(rows)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT payload FROM outbox.dead_letter")


@pytest.mark.parametrize("analysed", [False, True])
def test_a_page_does_not_read_them_all(db: Database, connection: Connection, analysed: bool) -> None:
    fill_history(db, finished=0, dead=5000, waiting=0, chats=10)
    if analysed:
        db.execute("ANALYZE")
    query = (
        "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname = 'dead_letter'"
    )
    for conditions in ({}, {"before_at": datetime.now(UTC) - timedelta(days=10), "before_id": 7}, {"bot": "alerts"}):
        with connection.transaction():
            assert len(ask(connection, "find_dead_letters", limit=20, **conditions)) == 20
            [(read,)] = connection.execute(query).fetchall()
        assert read < 200


def test_a_search_of_dead_letters_says_how_far_it_looked(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, on_uncertain,"
        "                                correlation_id, created_at, scheduled_for, died_at, attempts, calls)"
        " SELECT i, 'default', '1', 'sendMessage', '{}', 2, 'dead', 'retry', i::text, now(), now(),"
        "        now() - (100002 - i / 2) * interval '1 s', 1, 1 FROM generate_series(1, 100002) i"
    )
    [(died_at,)] = connection.execute("SELECT died_at FROM outbox.dead_letter WHERE id = 3").fetchall()
    [row] = ask(connection, "dead_letter_reach")
    assert row == {"complete": False, "reached_at": died_at, "reached_id": 3}
    rest = ask(connection, "find_dead_letters", before_at=died_at, before_id=3)
    assert [row["id"] for row in rest] == [2, 1]
    for conditions in (
        {"until": died_at},
        {"since": died_at + timedelta(seconds=1)},
        {"before_at": died_at, "before_id": 3},
    ):
        assert ask(connection, "dead_letter_reach", **conditions) == [
            {"complete": True, "reached_at": None, "reached_id": None}
        ]
