"""cancel on every kind of connection, in the caller's transaction; test_cancel.py tells what it does to a message."""

from __future__ import annotations

from typing import Any

import pytest

import outbox
from tests.accept.connections import KINDS, done, opened


def _asked_for(db: Any, *ids: int) -> list[bool]:
    with db.connect() as connection:
        return [outbox.status(connection, message_id).cancel_requested for message_id in ids]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancel_is_the_transactions(db, kind):
    async with opened(kind, db.url) as transaction:
        first = await done(outbox.send(transaction.connection, 42, {}, tag="a", correlation_id="c"))
        other = await done(outbox.send(transaction.connection, 42, {}))
        await transaction.commit()
        assert await done(outbox.cancel(transaction.connection, first)) is True
        assert (await done(outbox.status(transaction.connection, first))).cancel_requested
        assert _asked_for(db, first) == [False]
        await transaction.rollback()
        for named in ({"tag": "a"}, {"correlation_id": "c", "bot": "Default"}, {"id": first}):
            assert await done(outbox.cancel(transaction.connection, **named)) is True
            assert (await done(outbox.status(transaction.connection, first))).cancel_requested
            await transaction.rollback()
        assert await done(outbox.cancel(transaction.connection, first)) is True
        await transaction.commit()
    assert _asked_for(db, first, other) == [True, False]


@pytest.mark.parametrize(
    "named", [{"id": 4711}, {"tag": "nothing"}, {"correlation_id": "nothing"}, {"tag": "t", "bot": "alerts"}]
)
def test_where_nothing_waits_it_says_so(db, named):
    with db.connect() as connection:
        outbox.send(connection, 42, {}, tag="t")
        assert outbox.cancel(connection, **named) is False


@pytest.mark.parametrize(
    "named", [{}, {"id": 1, "tag": "t"}, {"tag": "t", "correlation_id": "c"}, {"bot": "default"}, {"id": None}]
)
def test_none_or_several_of_the_three_are_refused_before_the_database(db, named):
    with db.connect(autocommit=False) as connection:
        outbox.send(connection, 42, {})
        with pytest.raises(ValueError, match=r"cancel takes one of id, tag and correlation_id, not \d"):
            outbox.cancel(connection, **named)
    assert db.execute("SELECT count(*) FROM outbox.message") == [(1,)]


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({"id": "17"}, TypeError),
        ({"id": True}, TypeError),
        ({"id": 2**63}, ValueError),
        ({"tag": 7}, TypeError),
        ({"tag": "a\0"}, ValueError),
        ({"correlation_id": b"c"}, TypeError),
        ({"tag": "t", "bot": 1}, TypeError),
    ],
)
def test_what_no_parameter_can_hold_is_refused(db, named, error):
    with db.connect() as connection, pytest.raises(error, match=f"{[*named][-1]} (is|holds)"):
        outbox.cancel(connection, **named)
