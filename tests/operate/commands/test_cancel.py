"""outbox cancel: what waits under an id, a tag or a correlation id."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from outbox.operate.commands import cancel as command
from tests.invariants.calls import Connection, insert, status, sweep
from tests.operate.commands.conftest import Outbox
from tests.operate.dead_letters import audited, die, unlimited


@pytest.fixture
def waiting(connection: Connection) -> dict[str, int]:
    connection.execute("SELECT outbox.set_bot('alerts')")
    return {
        "plain": insert(connection, 1),
        "tagged": insert(connection, 2, tag="news"),
        "named": insert(connection, 3, correlation_id="order-7"),
        "alerts": insert(connection, 4, tag="news", bot="alerts"),
    }


def cancelled(connection: Connection, waiting: dict[str, int]) -> set[str]:
    while sweep(connection):
        pass
    return {name for name, message_id in waiting.items() if status(connection, message_id) == "cancelled"}


def cancels(connection: Connection) -> list[tuple[dict[str, Any], int | None]]:
    """What is on record of cancels, oldest first."""
    return [(about, count) for what, about, count in audited(connection) if what == "cancel"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), {"plain"}),
        (("--tag", "news"), {"tagged", "alerts"}),
        (("--tag", "news", "--bot", "Alerts"), {"alerts"}),
        (("--correlation-id", "order-7"), {"named"}),
    ],
    ids=["by id", "by tag", "by tag and bot", "by correlation id"],
)
def test_what_waits_ends_as_cancelled_and_a_dry_run_counts_it(
    outbox: Outbox, connection: Connection, waiting: dict[str, int], given: tuple[str, ...], expected: set[str]
) -> None:
    given = given or (str(waiting["plain"]),)
    done = outbox("cancel", *given, "--dry-run", "--json")
    assert (done.code, json.loads(done.out)["waiting"]) == (0, len(expected))
    assert cancelled(connection, waiting) == set()
    done = outbox("cancel", *given)
    assert (done.code, done.err) == (0, "")
    assert "cancelled within seconds" in done.out
    assert cancelled(connection, waiting) == expected


def test_where_nothing_waits_it_fails_and_says_what_became_of_it(outbox: Outbox, connection: Connection) -> None:
    unlimited(connection)
    dead = die(connection, 9)
    done = outbox("cancel", str(dead))
    assert (done.code, done.out) == (1, "")
    assert done.err == f"outbox: nothing of message {dead} waits: it ended as dead.\n"
    assert "no message has this id" in outbox("cancel", "999").err
    assert "it is queued" in outbox("cancel", str(insert(connection, 1)), "--bot", "alerts").err
    assert outbox("cancel", "--tag", "no such").code == 1
    done = outbox("cancel", "--tag", "no such", "--json")
    assert (done.code, json.loads(done.out)) == (1, {"waited": False})
    assert outbox("cancel", "--tag", "no such", "--dry-run").code == 1


@pytest.mark.parametrize("given", [(), ("17", "--tag", "x"), ("--tag", "x", "--correlation-id", "y"), ("--bot", "x")])
def test_exactly_one_of_the_three_is_taken(outbox: Outbox, given: tuple[str, ...]) -> None:
    done = outbox("cancel", *given)
    assert done.code == 2
    assert "cancel takes one of ID, --tag and --correlation-id, not" in done.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--tag", "news"), ({"tag": "news"}, 2)),
        (("--tag", "news", "--bot", "Alerts"), ({"tag": "news", "bot": "alerts"}, 1)),
        (("--correlation-id", "order-7"), ({"correlation_id": "order-7"}, 1)),
        (("--tag", "no such"), ({"tag": "no such"}, 0)),
    ],
    ids=str,
)
def test_a_cancel_is_audited_with_how_many_waited(
    outbox: Outbox,
    connection: Connection,
    waiting: dict[str, int],
    given: tuple[str, ...],
    expected: tuple[dict[str, Any], int],
) -> None:
    outbox("cancel", *given, "--dry-run")
    assert cancels(connection) == []
    outbox("cancel", *given)
    assert cancels(connection) == [expected]
    [(who,)] = connection.execute("SELECT who FROM outbox.audit WHERE what = 'cancel'").fetchall()
    assert "(" in who, "the person at the terminal is on record"


def test_one_message_is_audited_by_its_id(outbox: Outbox, connection: Connection, waiting: dict[str, int]) -> None:
    outbox("cancel", str(waiting["plain"]))
    outbox("cancel", "999")
    assert cancels(connection) == [({"id": waiting["plain"]}, 1), ({"id": 999}, 0)]


def test_a_login_of_an_application_cancels_without_a_record(
    db: Any,
    outbox: Outbox,
    connection: Connection,
    waiting: dict[str, int],
    login: Callable[..., psycopg.Connection[Any]],
) -> None:
    own = login("outbox_producer")
    url = make_conninfo(db.url, user=own.info.user)
    done = outbox("cancel", str(waiting["plain"]), OUTBOX_DATABASE_URL=url)
    assert (done.code, done.err) == (0, "")
    done = outbox("cancel", "--tag", "news", OUTBOX_DATABASE_URL=url)
    assert done.code == 1
    assert "this login may not count what waits. Add --yes" in done.err
    assert cancelled(connection, waiting) == {"plain"}
    assert outbox("cancel", "--tag", "news", "--yes", OUTBOX_DATABASE_URL=url).code == 0
    assert cancelled(connection, waiting) == {"plain", "tagged", "alerts"}
    assert cancels(connection) == []


@pytest.fixture
def many(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag)"
        " SELECT n::text, '{\"text\": \"hi\"}', 'many' FROM generate_series(1, 101) n"
    )


def asked_to_cancel(connection: Connection) -> bool:
    return connection.execute("SELECT FROM outbox.stop").fetchone() is not None


@pytest.mark.usefixtures("many")
def test_over_a_hundred_nothing_happens_without_a_terminal_or_yes(outbox: Outbox, connection: Connection) -> None:
    done = outbox("cancel", "--tag", "many")
    assert done.code == 2
    assert "101 of tag 'many' would be cancelled, and there is no terminal to ask at. Add --yes" in done.err
    assert not asked_to_cancel(connection)
    assert outbox("cancel", "--tag", "many", "--yes").code == 0
    assert asked_to_cancel(connection)
    assert cancels(connection) == [({"tag": "many"}, 101)]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(("typed", "code"), [("101", 0), ("y", 1), ("", 1)])
def test_over_a_hundred_the_number_has_to_be_typed(
    outbox: Outbox, connection: Connection, typed: str, code: int
) -> None:
    done = outbox("cancel", "--tag", "many", typed=f"{typed}\n")
    assert done.code == code, done.err
    assert "101 of tag 'many' will be cancelled. Type the number to go on" in done.err
    assert asked_to_cancel(connection) == (code == 0)


@pytest.mark.usefixtures("many")
def test_more_than_are_counted_are_told_as_or_more(
    outbox: Outbox, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "COUNTED", 50)
    assert "50 or more of tag 'many' would be cancelled" in outbox("cancel", "--tag", "many", "--dry-run").out
    assert json.loads(outbox("cancel", "--tag", "many", "--dry-run", "--json").out)["complete"] is False
    assert outbox("cancel", "--tag", "many").code == 2, "it asks"
    assert outbox("cancel", "--tag", "many", "--yes").code == 0
    assert cancels(connection) == [({"tag": "many"}, None)]


@pytest.mark.usefixtures("many")
def test_where_not_all_were_looked_at_the_count_is_told_as_or_more(outbox: Outbox, connection: Connection) -> None:
    [(body,)] = connection.execute("SELECT pg_get_functiondef('outbox.match_messages'::regproc)").fetchall()
    limited = body.replace("v_walk CONSTANT bigint := 100000;", "v_walk CONSTANT bigint := 10;")
    assert limited != body
    connection.execute(limited.encode())
    insert(connection, 1, tag="many", bot="default")
    connection.execute("SELECT outbox.set_bot('alerts')")
    for given in (("--dry-run",), ()):
        done = outbox("cancel", "--tag", "many", "--bot", "alerts", *given)
        assert "0 or more of tag 'many' would be cancelled" in done.out + done.err
    assert not asked_to_cancel(connection)
