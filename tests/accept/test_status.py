"""status in Python: one typed, documented value for each state of a message's life."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import typing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import outbox
from outbox import Message, Status
from tests.accept.connections import KINDS, connected, done
from tests.invariants.calls import claim, finish, insert, register


@pytest.mark.parametrize("kind", KINDS)
async def test_every_field_is_as_the_database_has_it(db, kind):
    with db.connect() as session:
        message_id = insert(session, 42)
        worker = register(session)
        finish(
            session,
            worker,
            claim(session, worker).lanes,
            "dead",
            telegram_message_id=None,
            error_class="blocked",
            error_text="Forbidden: ü",
        )
    [(attempts, finished_at)] = db.execute("SELECT attempts, finished_at FROM outbox.history")
    async with connected(kind, db.url) as connection:
        status = await done(outbox.status(connection, message_id))
    assert status == Status(
        status="dead",
        attempts=attempts,
        next_attempt_at=None,
        finished_at=finished_at,
        telegram_message_id=None,
        error_class="blocked",
        error_text="Forbidden: ü",
        cancel_requested=False,
    )


def test_times_are_aware_and_the_same_in_any_zone(db):
    at = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    with db.connect() as connection:
        message_id = outbox.send(connection, 42, {}, next_attempt_at=at)
        for zone in ("UTC", "Asia/Kathmandu", "America/St_Johns"):
            connection.execute(f"SET TimeZone = '{zone}'")
            connection.execute("SET DateStyle = 'German'")
            assert outbox.status(connection, message_id).next_attempt_at == at


def test_a_time_that_python_cannot_hold_is_its_last(db):
    with db.connect() as connection:
        [(message_id,)] = connection.execute(
            "INSERT INTO outbox.message (chat_id, payload, next_attempt_at) VALUES (1, '{}', '20000-01-01')"
            " RETURNING id"
        ).fetchall()
        assert outbox.status(connection, message_id).next_attempt_at == datetime.max.replace(tzinfo=UTC)


def test_what_is_uncommitted_is_seen_by_its_own_transaction_only(db):
    with db.connect(autocommit=False) as own, db.connect() as other:
        message_id = outbox.send(own, 42, {})
        assert outbox.status(own, message_id).status == "queued"
        assert outbox.status(other, message_id) == Status("unknown", 0, None, None, None, None, None, False)


def test_the_states_are_those_of_history_and_unknown(template):
    ended = _literals(
        template,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'c' AND pg_get_constraintdef(oid) ~ 'status'"
        "   AND conrelid IN ('outbox.finished'::regclass, 'outbox.dead_letter'::regclass)",
    )
    live = _literals(template, "SELECT substring(pg_get_viewdef('outbox.history'::regclass) FROM 'CASE.*?status')")
    states = typing.get_args(typing.get_type_hints(Status)["status"])
    assert sorted(states) == sorted(ended | live | {"unknown"})
    for state in states:
        assert Status(state, 0, None, None, None, None, None, False).ended is (state in ended)


def _literals(database: Any, query: str) -> set[str]:
    return {word for (text,) in database.execute(query) for word in re.findall(r"'(\w+)'::text", text)}


@pytest.mark.parametrize("kind", [Status, Message])
def test_every_field_has_a_docstring(kind):
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    documented = {
        before.target.id
        for before, after in itertools.pairwise(body)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert documented == {field.name for field in dataclasses.fields(kind)}


def test_a_status_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Status("sent", 1, None, datetime.now(UTC) - timedelta(1), 7, None, None, False).status = "dead"  # type: ignore[misc]
