"""What Python refuses before the database is touched, and what `import outbox` leaves alone."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import outbox
from outbox import Message, Priority
from outbox.accept.columns import columns_of
from outbox.accept.insert import insertion

SECRET = "s3cret-of-the-payload"


def _refuse(message: Message, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as refusal:
        columns_of(message)
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_no_json(number):
    _refuse(Message(1, {"text": SECRET, "latitude": number}), ValueError, "payload cannot be JSON")


@pytest.mark.parametrize("value", [datetime.now(UTC), b"bytes", {1}, object()])
def test_what_json_does_not_know_is_named(value):
    _refuse(Message(1, {"text": SECRET, "x": value}), TypeError, f"payload cannot be JSON: .*{type(value).__name__}")


def test_a_payload_that_holds_itself_is_refused():
    payload: dict[str, Any] = {"text": SECRET}
    payload["me"] = payload
    _refuse(Message(1, payload), ValueError, "payload cannot be JSON")


@pytest.mark.parametrize("payload", [None, "text", [], 1])
def test_a_payload_that_is_no_mapping_is_refused(payload):
    _refuse(Message(1, payload), TypeError, "payload is .*Give a mapping")


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud83d"])
def test_what_no_text_can_hold_is_refused_without_quoting_it(text):
    _refuse(Message(1, {"text": SECRET + text}), ValueError, "payload holds")
    _refuse(Message(1, {}, tag=text), ValueError, "tag holds")


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "C:\\users", "\\"])
def test_a_backslash_before_u0000_is_text(text):
    assert columns_of(Message(1, {"text": text}))["payload"]


@pytest.mark.parametrize("chat_id", [None, True, 1.0, b"42"])
def test_a_chat_that_is_neither_number_nor_name_is_refused(chat_id):
    _refuse(Message(chat_id, {}), TypeError, "chat_id is")


def test_a_time_without_a_zone_is_refused():
    for column in ("next_attempt_at", "expires_at"):
        _refuse(Message(1, {}, **{column: datetime(2026, 1, 1)}), ValueError, f"{column} .*has no time zone")
        _refuse(Message(1, {}, **{column: "tomorrow"}), TypeError, f"{column} is of type str")


def test_numbers_and_names_of_the_wrong_type_are_refused():
    _refuse(Message(1, {}, priority="high"), TypeError, "priority is of type str")  # type: ignore[arg-type]
    _refuse(Message(1, {}, max_attempts=1.5), TypeError, "max_attempts is of type float")  # type: ignore[arg-type]
    _refuse(Message(1, {}, tag=7), TypeError, "tag is of type int")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "most"), [("priority", 2**15 - 1), ("max_attempts", 2**31 - 1), ("target_id", 2**63 - 1)]
)
def test_a_number_that_the_column_cannot_hold_is_refused(column, most):
    for number in (most + 1, -most - 2, 10**5000):
        _refuse(Message(1, {}, **{column: number}), ValueError, f"{column} is not from -{most + 1} to {most}")
    for number in (most, -most - 1):
        assert columns_of(Message(1, {}, **{column: number}))[column] == str(number)


def test_a_zone_that_postgresql_does_not_know_is_reckoned_to_utc():
    for offset in (timedelta(hours=20), timedelta(hours=-23, minutes=-59), timedelta(microseconds=1)):
        at = datetime(2026, 1, 1, tzinfo=timezone(offset))
        assert columns_of(Message(1, {}, expires_at=at))["expires_at"] == at.astimezone(UTC).isoformat()
    at = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=20)))
    _refuse(Message(1, {}, expires_at=at), ValueError, "expires_at .* beyond the years 1 to 9999")


def test_only_what_was_set_becomes_a_column():
    assert columns_of(Message(42, {"text": "hi"})) == {"chat_id": "42", "payload": '{"text": "hi"}'}
    at = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=3)))
    assert columns_of(Message("@name", {}, priority=Priority.critical, next_attempt_at=at, tag="")) == {
        "chat_id": "@name",
        "payload": "{}",
        "priority": "0",
        "next_attempt_at": "2026-01-01T00:00:00+03:00",
        "tag": "",
    }


def test_a_misspelt_column_is_an_error():
    with pytest.raises(TypeError, match="prioritty"):
        outbox.Message(1, {}, prioritty=1)  # type: ignore[call-arg]


def test_the_repr_shows_no_payload():
    assert SECRET not in repr(Message(1, {"text": SECRET}))


def test_a_batch_is_looked_at_before_its_first_statement():
    with pytest.raises(ValueError, match="payload cannot be JSON"):
        next(insertion([Message(1, {}), Message(2, {"x": float("nan")})]))


def test_import_outbox_imports_no_driver_and_nothing_of_the_worker():
    program = (
        "import sys, outbox; [getattr(outbox, name) for name in outbox.__all__];"
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in"
        " {'psycopg', 'sqlalchemy', 'alembic', 'asyncpg', 'aiohttp', 'click', 'structlog', 'pydantic', 'asyncio'}"
        " or name.startswith('outbox.') and not name.startswith('outbox.accept')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("via_psycopg", "psycopg"),
        ("via_asyncpg", ""),  # what asyncpg has to give comes with the connection
        ("via_sqlalchemy", "sqlalchemy"),
    ],
)
def test_a_driver_is_enough_for_its_connections(module, needs):
    program = (
        f"import sys, outbox.accept.{module};"
        "print(*sorted({'psycopg', 'sqlalchemy', 'asyncpg', 'aiohttp', 'click', 'outbox.database', 'outbox.deliver'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == needs.split()


@pytest.mark.parametrize("connection", [None, object(), "postgresql://localhost/db"])
def test_an_unknown_connection_is_refused_with_what_is_accepted(connection):
    calls = [
        lambda: outbox.enqueue(connection, 1, {}),
        lambda: outbox.enqueue_many(connection, []),
        lambda: outbox.send(connection, 1, {}),
        lambda: outbox.cancel(connection, 1),
        lambda: outbox.status(connection, 1),
        lambda: outbox.wait(connection, 1),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"cannot work through .*psycopg's .*asyncpg's .*SQLAlchemy's Connection"):
            call()


def test_a_message_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="a message is of type tuple"):
        next(insertion([(1, {})]))  # type: ignore[list-item]
