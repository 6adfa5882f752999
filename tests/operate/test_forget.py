"""Privacy: history stays, and says no more whom it was about or what was said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from outbox.database.migrate import LOCK
from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sessions import Session
from tests.operate.dead_letters import audited, die, operate, unlimited

CHAT = "123454321"
SECRET = "they said something private"


def everywhere(connection: Connection, words: str) -> list[str]:
    """Name the tables in which these words stand."""
    tables = connection.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind = 'r' ORDER BY 1"
    ).fetchall()
    found = "SELECT 1 FROM outbox.{} t WHERE strpos(t::text, %s) > 0 LIMIT 1"
    return [table for (table,) in tables if connection.execute(found.format(table), [words]).fetchall()]


def a_life(connection: Connection, frozen: FrozenClock, chat_id: str = CHAT) -> dict[str, int]:
    """One sent message, a dead one, one that waits for its retry and one that is scheduled, all of one chat."""
    worker, payload = register(connection), {"text": SECRET}
    made = {"sent": insert(connection, chat_id, payload)}
    finish(connection, worker, claim(connection, worker).lanes, telegram_message_id=7)
    made["dead"] = die(connection, chat_id, error_text=f"chat {chat_id} refused: {SECRET}", payload=payload)
    made["retried"] = insert(connection, chat_id, payload)
    finish(connection, worker, claim(connection, worker).lanes, "retry", error_text=f"{chat_id}: {SECRET}")
    made["scheduled"] = insert(connection, chat_id, payload, next_attempt_at=frozen.at.replace(hour=23))
    return made


def test_no_table_names_the_chat_or_what_was_said_any_more(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    made = a_life(connection, frozen)
    connection.execute("UPDATE outbox.finished SET telegram_answer = %s::jsonb", [f'{{"chat": "{CHAT}"}}'])
    connection.execute("UPDATE outbox.chat SET suppression_evidence = 1")
    operate(connection, "lift_suppression", "default", CHAT)
    assert {"chat", "message", "dead_letter", "wakeup", "audit"} <= set(everywhere(connection, CHAT))
    assert operate(connection, "forget", "default", CHAT) == 7
    assert everywhere(connection, CHAT) == []
    assert everywhere(connection, SECRET) == []
    rows = connection.execute(
        "SELECT id, status, chat_id, error_class, telegram_message_id FROM outbox.history"
    ).fetchall()
    assert sorted(rows) == [
        (made["sent"], "sent", "forgotten", None, 7),
        (made["dead"], "discarded", "forgotten", "forgotten", None),
        (made["retried"], "discarded", "forgotten", "forgotten", None),
        (made["scheduled"], "discarded", "forgotten", "forgotten", None),
    ]
    rows = connection.execute("SELECT outcome, chat_id, error_class, error_text FROM outbox.attempt").fetchall()
    assert sorted(rows, key=str) == [
        ("dead", "forgotten", "bad_request", None),
        ("retry", "forgotten", None, None),
        ("sent", "forgotten", None, None),
    ]
    assert [operate(connection, "payload", one) for one in made.values()] == [None] * 4
    assert broken(connection) == []


def test_it_is_on_record_without_the_chat(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    a_life(connection, frozen)
    operate(connection, "forget", "default", int(CHAT))
    assert audited(connection) == [("forget", {"bot": "default"}, 7)]


def test_what_operators_looked_for_does_not_name_the_chat_any_more(connection: Connection) -> None:
    unlimited(connection)
    die(connection, CHAT, error_text=f"chat {CHAT} is closed")
    die(connection, 2, error_text=f"number 9{CHAT} is closed")
    for text in (f"chat {CHAT}", f"9{CHAT}"):
        operate(connection, "start_batch", "discard", p_text=text)
    while connection.execute("SELECT outbox.run_batches()").fetchone() != (None,):
        pass
    connection.execute("UPDATE outbox.batch SET last_error = %s", [f"chat {CHAT} is busy"])
    operate(connection, "forget", "default", CHAT)
    texts = connection.execute("SELECT filter ->> 'text', last_error FROM outbox.batch ORDER BY id").fetchall()
    assert texts == [("forgotten", "forgotten"), (f"9{CHAT}", "forgotten")]
    assert {row["text"] for _, row, _ in audited(connection) if "text" in row} == {"forgotten", f"9{CHAT}"}


def test_a_search_for_the_chat_does_not_name_it_any_more_whichever_bot_it_was_about(connection: Connection) -> None:
    """As the page notes a search in payloads: the chat and the bot as they were typed, the bot only where one was."""
    add_bot(connection, "alerts")
    for noted in (f'{{"chat_id": "{CHAT}"}}', f'{{"chat_id": "{CHAT}", "bot": "Default"}}', '{"chat_id": "@Somebody"}'):
        connection.execute("SELECT outbox.note_action('find_in_payloads', %s, NULL)", [noted])
    connection.execute(
        "SELECT outbox.note_action('find_in_payloads', %s, NULL)", [f'{{"chat_id": "{CHAT}", "bot": "alerts"}}']
    )
    operate(connection, "forget", "default", CHAT)
    operate(connection, "forget", "default", "@somebody")
    searched = [row for what, row, _ in audited(connection) if what == "find_in_payloads"]
    assert searched == [
        {"chat_id": "forgotten"},
        {"chat_id": "forgotten", "bot": "Default"},
        {"chat_id": "forgotten"},
        {"chat_id": CHAT, "bot": "alerts"},
    ]


def test_a_batch_that_runs_keeps_its_words_until_it_has_ended(connection: Connection) -> None:
    unlimited(connection)
    die(connection, CHAT, error_text=f"chat {CHAT} is closed")
    number = operate(connection, "start_batch", "retry", p_text=f"chat {CHAT}")
    connection.execute("UPDATE outbox.batch SET last_error = %s", [f"chat {CHAT} is busy"])
    words = "SELECT filter ->> 'text', last_error FROM outbox.batch"
    operate(connection, "forget", "default", CHAT)
    assert connection.execute(words).fetchall() == [(f"chat {CHAT}", f"chat {CHAT} is busy")]
    operate(connection, "stop_batch", number)
    operate(connection, "forget", "default", CHAT)
    assert connection.execute(words).fetchall() == [("forgotten", "forgotten")]


def test_while_it_reads_what_operators_did_the_chat_can_be_sent_to(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    unlimited(connection)
    die(connection, CHAT)
    connection.execute("SELECT outbox.note_action('find_in_payloads', %s, NULL)", [f'{{"chat_id": "{CHAT}"}}'])
    holding, forgetting = open_session(), open_session()
    holding.begin().execute("SELECT FROM outbox.audit FOR UPDATE")
    call = forgetting.start(operate, "forget", "default", CHAT)
    assert forgetting.waits(call)
    connection.execute("SELECT FROM outbox.chat WHERE chat_id = %s FOR UPDATE NOWAIT", [CHAT])
    holding.commit()
    assert call.result() == 2
    assert everywhere(connection, CHAT) == []


def test_it_waits_for_an_upgrade_and_holds_nothing_meanwhile(
    connection: Connection, open_session: Callable[[], Session]
) -> None:
    """outbox.make_indexes locks chat, then history; it locks history, then the chat."""
    unlimited(connection)
    die(connection, CHAT)
    upgrading, forgetting = open_session(), open_session()
    upgrading.begin().execute(LOCK)  # type: ignore[arg-type]
    call = forgetting.start(operate, "forget", "default", CHAT)
    assert forgetting.waits(call)
    upgrading.connection.execute("LOCK TABLE outbox.chat, outbox.finished, outbox.attempt IN EXCLUSIVE MODE NOWAIT")
    upgrading.commit()
    assert call.result() == 2


def test_a_second_time_finds_nothing_and_does_no_harm(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    a_life(connection, frozen)
    operate(connection, "forget", "default", CHAT)
    assert operate(connection, "forget", "default", CHAT) == 0


def test_other_chats_and_other_bots_keep_everything(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    add_bot(connection, "alerts", rate=None, chat_interval_s=0)
    made = a_life(connection, frozen, CHAT + "9")
    theirs = die(connection, CHAT, bot="alerts")
    tables = ("message", "chat", "wakeup", "finished", "attempt", "dead_letter")
    before = [connection.execute(f"SELECT * FROM outbox.{table} ORDER BY 1, 2").fetchall() for table in tables]
    assert operate(connection, "forget", "default", CHAT) == 0
    assert before == [connection.execute(f"SELECT * FROM outbox.{table} ORDER BY 1, 2").fetchall() for table in tables]
    assert status(connection, theirs) == "dead"
    assert status(connection, made["scheduled"]) == "queued"


def test_a_chat_that_was_never_sent_to_is_forgotten_too(connection: Connection, frozen: FrozenClock) -> None:
    message_id = insert(connection, "@somebody", {"text": SECRET})
    assert operate(connection, "forget", "default", "@SomeBody") == 1
    assert status(connection, message_id) == "discarded"
    assert everywhere(connection, "@somebody") == everywhere(connection, SECRET) == []


def test_a_chat_that_moved_here_is_forgotten_with_it(connection: Connection, frozen: FrozenClock) -> None:
    connection.execute(
        "INSERT INTO outbox.chat (chat_id, bot, moved_to) VALUES ('-1', 'default', '-1002'), ('-1002', 'default', NULL)"
    )
    operate(connection, "forget", "default", "-1002")
    assert everywhere(connection, "-1002") == []


def test_while_a_message_is_on_its_way_it_is_refused_and_nothing_changes(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    worker, sent = register(connection), insert(connection, CHAT)
    finish(connection, worker, claim(connection, worker).lanes)
    sending = insert(connection, CHAT)
    claim(connection, worker)
    with pytest.raises(psycopg.errors.ObjectInUse, match="on its way to this chat") as refused:
        operate(connection, "forget", "default", CHAT)
    assert CHAT not in str(refused.value)
    assert "outbox.pause('default')" in (refused.value.diag.message_hint or "")
    assert status(connection, sending) == "sending"
    rows = connection.execute("SELECT chat_id FROM outbox.history WHERE id = %s", [sent]).fetchall()
    assert rows == [(CHAT,)]
    assert audited(connection) == []


def test_it_lets_the_answer_in_that_comes_meanwhile_and_forgets_it_too(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    """The history is read without the chat; what ends before the chat is held is found afterwards."""
    unlimited(connection)
    worker, message_id = register(connection), insert(connection, CHAT, {"text": SECRET})
    lanes = claim(connection, worker).lanes
    completing, forgetting = open_session(), open_session()
    completing.begin().execute("SELECT FROM outbox.chat WHERE chat_id = %s FOR UPDATE", [CHAT])
    call = forgetting.start(operate, "forget", "default", CHAT)
    assert forgetting.waits(call), "it has read the history and wants the chat"
    finish(completing.connection, worker, lanes)
    completing.commit()
    assert call.result() == 2
    assert status(connection, message_id) == "sent"
    assert everywhere(connection, CHAT) == everywhere(connection, SECRET) == []


def test_a_message_written_meanwhile_is_ended_or_keeps_its_wakeup(
    connection: Connection, frozen: FrozenClock, open_session: Callable[[], Session]
) -> None:
    unlimited(connection)
    insert(connection, CHAT)
    producing = open_session()
    later = insert(producing.begin(), CHAT)
    operate(connection, "forget", "default", CHAT)
    producing.commit()
    assert broken(connection) == []
    assert claim(connection, register(connection)).message_ids == [later]


def test_the_late_answer_for_a_forgotten_chat_changes_nothing_but_attempt(
    connection: Connection, frozen: FrozenClock
) -> None:
    worker, message_id = register(connection), insert(connection, CHAT, on_uncertain="hold")
    lanes = claim(connection, worker).lanes
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    operate(connection, "forget", "default", CHAT)
    assert finish(connection, worker, lanes) == 0
    assert status(connection, message_id) == "discarded"
    operate(connection, "forget", "default", CHAT)
    assert everywhere(connection, CHAT) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody", "1"), 'bot "nobody" does not exist'),
        (("default", None), "chat_id is missing"),
        *((("default", chat), "is neither a number nor a @name") for chat in ("", ".", "(42", "0", "42 ", "@", "Ann")),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_one_line(connection: Connection, arguments: Any, says: str) -> None:
    with pytest.raises(psycopg.Error, match=says):
        connection.execute("SELECT outbox.forget(%s::text, %s::text)", arguments)
