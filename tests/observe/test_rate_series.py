"""rate_series and outcomes: what was done lately, for plots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot
from tests.observe.filled import fill_history
from tests.observe.test_cost import flush, scans

AT = datetime(2027, 3, 1, 12, 0, 7, tzinfo=UTC)


@pytest.fixture
def at_noon(connection: Connection) -> Connection:
    """A clock that stands at 12:00:07."""
    stand_still(connection, AT)
    return connection


def stand_still(connection: Connection, at: datetime) -> None:
    connection.execute(
        "CREATE OR REPLACE FUNCTION outbox.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE"
        f" AS $$ SELECT '{at.isoformat()}'::timestamptz $$"
    )


def call(connection: Connection, seconds_ago: float, outcome: str, bot: str = "default") -> None:
    connection.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)"
        " VALUES (1, 1, %s, '1', %s, %s)",
        [bot, AT - timedelta(seconds=seconds_ago), outcome],
    )


def test_calls_are_counted_in_the_step_of_their_answer(at_noon: Connection) -> None:
    for seconds_ago, outcome in (
        (7.5, "sent"),
        (16, "sent"),
        (17, "wait"),
        (17, "retry"),
        (17, "dead"),
        (17.5, "sent"),
    ):
        call(at_noon, seconds_ago, outcome)
    call(at_noon, 3, "sent")  # its step is not over
    call(at_noon, 70, "sent")  # before
    rows = at_noon.execute("SELECT * FROM outbox.rate_series(1, 10)").fetchall()
    assert len(rows) == 6
    assert rows[-1] == ("default", datetime(2027, 3, 1, 11, 59, 50, tzinfo=UTC), 2, 1, 2, 300)
    assert rows[-2] == ("default", datetime(2027, 3, 1, 11, 59, 40, tzinfo=UTC), 1, 0, 0, 300)
    assert [row[2] for row in rows[:4]] == [0] * 4


def test_what_a_bot_may_do_is_its_limit_in_use_now(at_noon: Connection) -> None:
    add_bot(at_noon, "unlimited", rate=None)
    add_bot(at_noon, "slow", rate=20, rate_window_s=2)
    at_noon.execute("UPDATE outbox.bucket SET active_tokens = 12 WHERE bot = 'default'")
    rows = at_noon.execute("SELECT DISTINCT bot, allowed FROM outbox.rate_series(1, 10) ORDER BY 1").fetchall()
    assert rows == [("default", 120), ("slow", 100), ("unlimited", None)]


def test_of_many_bots_those_that_called_most_are_shown(at_noon: Connection) -> None:
    for number in range(30):
        add_bot(at_noon, f"bot{number:02}")
    call(at_noon, 20, "sent", "bot29")
    bots = [bot for (bot,) in at_noon.execute("SELECT DISTINCT bot FROM outbox.rate_series(1, 10)").fetchall()]
    assert len(bots) == 20
    assert "bot29" in bots


@pytest.mark.parametrize("arguments", ["0, 10", "15, 0", "1440, 1", "NULL, 10", "15, NULL"])
def test_what_makes_no_plot_is_refused(connection: Connection, arguments: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute(f"SELECT outbox.rate_series({arguments})")


def test_outcomes_count_what_ended_lately_by_bot_and_status(db: Database, connection: Connection) -> None:
    fill_history(db, finished=30_000, dead=200, waiting=10, chats=10)
    [(at,)] = connection.execute("SELECT now()").fetchall()
    stand_still(connection, at)
    found = connection.execute("SELECT bot, status, count FROM outbox.outcomes(10) ORDER BY 1, 2").fetchall()
    assert len(found) > 8
    assert (
        found
        == connection.execute(
            "SELECT bot, status, count(*) FROM (SELECT bot, 'sent' AS status, answered_at AS at FROM outbox.attempt"
            "                                    WHERE outcome = 'sent'"
            "                                   UNION ALL"
            "                                   SELECT bot, status, finished_at FROM outbox.finished"
            "                                    WHERE status <> 'sent'"
            "                                   UNION ALL"
            "                                   SELECT bot, status, died_at FROM outbox.dead_letter) x"
            " WHERE at >= %s - interval '10 min' GROUP BY 1, 2 ORDER BY 1, 2",
            [at],
        ).fetchall()
    )


@pytest.mark.parametrize("analysed", [False, True])
def test_the_past_is_not_read_for_the_last_minutes(db: Database, connection: Connection, analysed: bool) -> None:
    fill_history(db, finished=30_000, dead=10, waiting=10, chats=10)
    if analysed:
        db.execute("ANALYZE")
    connection.execute("SELECT outbox.rate_series(1), outbox.outcomes(1)")
    flush(connection)
    before = scans(db, connection)
    for _ in range(3):
        connection.execute("SELECT count(*) FROM outbox.rate_series(1)")
        connection.execute("SELECT count(*) FROM outbox.outcomes(1)")
    assert scans(db, connection) == before


@pytest.mark.parametrize(
    ("index", "definition", "still_told"),
    [
        ("attempt_answered", "attempt (answered_at)", []),
        ("finished_unsent", "finished (finished_at) WHERE status <> 'sent'", ["rate_series"]),
    ],
)
def test_on_the_day_of_an_upgrade_a_large_day_is_not_read_and_nothing_is_told(
    db: Database, connection: Connection, index: str, definition: str, still_told: list[str]
) -> None:
    fill_history(db, finished=30_000, dead=10, waiting=10, chats=10)
    connection.execute(
        "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome, error_text)"
        " SELECT 1, 1, 'default', '1', now() - interval '1 min', 'sent', repeat('x', 900)"
        "   FROM generate_series(1, 12000)"
    )
    connection.execute(
        "INSERT INTO outbox.finished (id, bot, chat_id, method, priority, status, correlation_id, created_at,"
        "                             scheduled_for, finished_at, attempts, error_text)"
        " SELECT -i, 'default', '1', 'sendMessage', 2, 'sent', i::text, now(), now(), now(), 1, repeat('x', 900)"
        "   FROM generate_series(1, 12000) i"
    )
    assert told(connection) == ["rate_series", "outcomes"]
    connection.execute(f"DROP INDEX outbox.{index}")
    connection.execute(f"CREATE INDEX {index} ON ONLY outbox.{definition}")
    told(connection)
    flush(connection)
    before = scans(db, connection)
    assert told(connection) == still_told
    assert scans(db, connection) == before


def told(connection: Connection) -> list[str]:
    """Which of the two have something to tell."""
    return [
        question
        for question in ("rate_series", "outcomes")
        if connection.execute(f"SELECT count(*) > 0 FROM outbox.{question}(1)").fetchall() == [(True,)]
    ]
