"""A user came back: the chat may be sent to again, and no worker waits for whoever says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection, claim, finish, insert, register, status
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.operate.dead_letters import audited, operate

SUPPRESSION = (
    "SELECT suppressed_until IS NULL AND suppressed_at IS NULL AND suppressed_reason IS NULL"
    " AND suppression_evidence = 0 FROM outbox.chat WHERE chat_id = %s"
)


def suppress(connection: Connection, chat_id: str, evidence: int = 1) -> None:
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, suppressed_until, suppressed_at, suppressed_reason,"
        " suppression_evidence) VALUES (%s, 'default', outbox.clock() + interval '7 days', outbox.clock(),"
        " 'blocked', %s)"
        " ON CONFLICT (chat_id, bot) DO UPDATE SET suppressed_until = excluded.suppressed_until,"
        " suppressed_at = excluded.suppressed_at, suppressed_reason = 'blocked', suppression_evidence = %s",
        [chat_id, evidence, evidence],
    )


def lifted(connection: Connection, chat_id: str) -> bool:
    return connection.execute(SUPPRESSION, [chat_id]).fetchall() == [(True,)]


@pytest.mark.parametrize(("stored", "given"), [("42", 42), ("42", "42"), ("-100", -100), ("@shop", "@Shop")])
def test_a_suppressed_chat_may_be_sent_to_again(connection: Connection, stored: str, given: str | int) -> None:
    suppress(connection, stored)
    suppress(connection, "7")
    assert operate(connection, "lift_suppression", "default", given) is True
    assert lifted(connection, stored)
    assert not lifted(connection, "7")
    assert audited(connection) == [("lift_suppression", {"bot": "default", "chat_id": stored}, 1)]


def test_evidence_that_did_not_suffice_yet_is_forgotten_too(connection: Connection) -> None:
    connection.execute("INSERT INTO outbox.chat (chat_id, bot, suppression_evidence) VALUES ('1', 'default', 1)")
    assert operate(connection, "lift_suppression", "default", 1) is True
    assert lifted(connection, "1")


def test_a_chat_that_moved_is_lifted_where_it_lives_now(connection: Connection) -> None:
    suppress(connection, "-1")
    suppress(connection, "-1002")
    connection.execute("UPDATE outbox.chat SET moved_to = '-1002' WHERE chat_id = '-1'")
    assert operate(connection, "lift_suppression", "default", "-1") is True
    assert lifted(connection, "-1002")


def test_where_nothing_is_suppressed_there_is_nothing_to_do_or_to_record(connection: Connection) -> None:
    insert(connection, 1)
    claim(connection, register(connection))
    assert operate(connection, "lift_suppression", "default", 1) is True
    assert operate(connection, "lift_suppression", "default", 2) is True
    assert audited(connection) == []


def test_an_unknown_bot_is_one_clear_line(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match='bot "nobody" does not exist'):
        operate(connection, "lift_suppression", "nobody", 1)


def test_while_a_message_is_on_its_way_its_answer_decides_and_complete_never_waits(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    worker = register(connection)
    insert(connection, 1)
    lanes = claim(connection, worker).lanes
    suppress(connection, "1")
    producing, completing = open_session(), open_session()
    assert operate(producing.begin(), "lift_suppression", "default", 1) is False
    call = completing.start(finish, worker, lanes)
    assert not completing.waits(call)
    assert call.result() == 1
    assert operate(producing.connection, "lift_suppression", "default", 1) is True
    producing.commit()
    assert lifted(connection, "1")


def test_a_producer_that_sits_in_its_transaction_stops_no_other_chat(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    suppress(connection, "1")
    producing, claiming = open_session(), open_session()
    assert operate(producing.begin(), "lift_suppression", "default", 1) is True
    welcome = insert(producing.connection, 1)
    elsewhere = insert(connection, 2)
    worker = register(connection)
    call = claiming.start(claim, worker)
    assert not claiming.waits(call)
    assert call.result().message_ids == [elsewhere]
    producing.commit()
    assert claim(connection, worker).message_ids == [welcome]


def test_it_waits_a_moment_for_a_chat_that_somebody_holds_and_then_says_so(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    suppress(connection, "1")
    holding, asking = open_session(), open_session()
    holding.begin().execute("SELECT FROM outbox.chat WHERE chat_id = '1' FOR UPDATE")
    call = asking.start(operate, "lift_suppression", "default", 1)
    assert asking.waits(call)
    assert call.result() is False
    holding.rollback()
    assert operate(connection, "lift_suppression", "default", 1) is True


def test_a_producer_may_and_the_business_transaction_goes_on(
    connection: Connection, frozen: FrozenClock, login: Callable[..., psycopg.Connection[Any]]
) -> None:
    connection.execute("GRANT USAGE ON SCHEMA outbox_test TO PUBLIC")
    connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA outbox_test TO PUBLIC")
    suppress(connection, "42")
    producer = login("outbox_producer")
    with producer.transaction():
        assert operate(producer, "lift_suppression", "default", 42) is True
        producer.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (42, '{}')")
    assert lifted(connection, "42")
    assert connection.execute("SELECT who FROM outbox.audit").fetchall() == [(producer.info.user,)]


@pytest.mark.parametrize("verb", ["lift_suppression", "retry"])
def test_a_user_who_blocked_the_bot_and_came_back_is_written_to_again(
    connection: Connection, frozen: FrozenClock, verb: str
) -> None:
    worker, refused = register(connection), insert(connection, 1)
    finish(connection, worker, claim(connection, worker).lanes, "dead", error_class="blocked", reach="chat")
    assert status(connection, refused) == "dead"
    assert not lifted(connection, "1")
    frozen.advance(5)
    unwanted = insert(connection, 1)
    assert claim(connection, worker).lanes == []
    assert status(connection, unwanted) == "discarded"
    assert operate(connection, verb, *(["default", 1] if verb == "lift_suppression" else [refused])) in (True, 1)
    welcome = insert(connection, 1)
    expected = {"lift_suppression": welcome, "retry": refused}[verb]
    assert claim(connection, worker).message_ids == [expected]
