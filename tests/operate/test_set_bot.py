"""A bot's policy: what may be set, and that a wrong value is one clear line."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection
from tests.operate.dead_letters import audited, operate

POLICY = {
    "rate": 20,
    "rate_window_s": 2,
    "chat_interval_s": 0.5,
    "group_limit": 10,
    "group_window_s": 30,
    "backoff_initial_s": 0.5,
    "backoff_factor": 3,
    "backoff_max_s": 60,
    "max_attempts": 5,
    "keep_payload": False,
    "breaker_answers": 30,
    "breaker_failure_share": 0.8,
    "breaker_open_s": 5,
    "breaker_open_max_s": 120,
    "breaker_probes": 2,
    "idempotency_s": 3600,
}


def policy(connection: Connection) -> dict[str, Any]:
    columns = ", ".join(POLICY)
    row = connection.execute(f"SELECT {columns} FROM outbox.bot WHERE bot = 'alerts'").fetchone()
    assert row is not None
    return dict(zip(POLICY, row, strict=True))


@pytest.mark.parametrize("column", POLICY)
def test_each_value_changes_alone(connection: Connection, column: str) -> None:
    operate(connection, "set_bot", "alerts")
    before = policy(connection)
    operate(connection, "set_bot", "alerts", **{f"p_{column}": POLICY[column]})
    assert policy(connection) == before | {column: POLICY[column]}
    assert audited(connection)[-1] == ("set_bot", {"bot": "alerts", column: POLICY[column]}, 1)


def test_all_at_once_and_none_at_all(connection: Connection) -> None:
    operate(connection, "set_bot", "alerts", **{f"p_{column}": value for column, value in POLICY.items()})
    assert policy(connection) == POLICY
    operate(connection, "set_bot", "alerts")
    assert policy(connection) == POLICY


def test_zero_is_no_limit(connection: Connection) -> None:
    operate(connection, "set_bot", "alerts", p_rate=0, p_group_limit=0)
    assert (policy(connection)["rate"], policy(connection)["group_limit"]) == (None, None)


def test_paid_broadcast_can_be_allowed_again_and_refused(connection: Connection) -> None:
    refused = "SELECT paid_broadcast_refused_at IS NOT NULL FROM outbox.bot WHERE bot = 'alerts'"
    said = []
    for allow in (None, False, None, True, None):
        operate(connection, "set_bot", "alerts", p_allow_paid_broadcast=allow)
        said += connection.execute(refused).fetchall()
    assert [row[0] for row in said] == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("p_rate", -1, "Use 0 to 1000000; 0 is no limit."),
        ("p_rate_window_s", 0, "Use 0.001 to 86400."),
        ("p_rate_window_s", float("inf"), "Use 0.001 to 86400."),
        ("p_chat_interval_s", -0.1, "Use 0 to 86400."),
        ("p_chat_interval_s", float("nan"), "Use 0 to 86400."),
        ("p_group_limit", -5, "Use 0 to 1000000; 0 is no limit."),
        ("p_backoff_factor", 0.5, "Use 1 to 1000."),
        ("p_max_attempts", 0, "Use 1 to 1000000."),
        ("p_breaker_answers", 0, "Use 1 to 1000000."),
        ("p_breaker_failure_share", 1.5, "Use 0.001 to 1."),
        ("p_breaker_open_s", -1, "Use 0.001 to 86400."),
        ("p_breaker_probes", 0, "Use 1 to 1000."),
        ("p_idempotency_s", 0, "Use 1 to 315360000."),
    ],
)
def test_a_wrong_value_is_one_clear_line_and_changes_nothing(
    connection: Connection, name: str, value: float, hint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=f"^{name} is ") as refused:
        operate(connection, "set_bot", "alerts", **{name: value})
    assert refused.value.diag.message_hint == hint
    assert refused.value.diag.message_detail is None
    assert connection.execute("SELECT count(*) FROM outbox.bot WHERE bot = 'alerts'").fetchall() == [(0,)]
    assert audited(connection) == []


def test_the_function_of_the_last_release_does_not_stand_beside_it(connection: Connection) -> None:
    """Two of one name, each with defaults: no call would be unique."""
    rows = connection.execute("SELECT count(*) FROM pg_proc WHERE proname = 'set_bot'").fetchall()
    assert rows == [(1,)]
