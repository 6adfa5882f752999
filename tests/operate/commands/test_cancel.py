"""outbox cancel: what waits under an id, a tag or a correlation id."""

from __future__ import annotations

import json

import pytest

from tests.invariants.calls import Connection, insert, status, sweep
from tests.operate.commands.conftest import Outbox
from tests.operate.dead_letters import die, unlimited


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
