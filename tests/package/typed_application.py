"""An application as mypy --strict sees it beside the installed wheel; nobody runs it."""

from typing import Any, assert_type

import psycopg

from outbox import Message, enqueue, enqueue_many


def right(connection: psycopg.Connection[Any]) -> None:
    """Types that are not Any: the wheel says that it is typed."""
    assert_type(enqueue(connection, 42, {"text": "hi"}, tag="greeting"), int | None)
    assert_type(enqueue_many(connection, [Message(42, {"text": "hi"})]), list[int | None])


def wrong(connection: psycopg.Connection[Any]) -> None:
    """Each line is an error that the checker has to see: an ignore that is not needed is one itself."""
    enqueue(connection, 42, {}, prioritty=1)  # type: ignore[call-overload]
    enqueue(None, 42, {})  # type: ignore[call-overload]
    Message(42, {}, tag=1)  # type: ignore[arg-type]
