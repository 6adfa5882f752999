"""Dead letters that nobody wants any more become history."""

from __future__ import annotations

from tests.invariants.calls import Connection, add_bot, status
from tests.invariants.frozen_clock import FrozenClock
from tests.operate.dead_letters import audited, die, operate, unlimited


def test_a_discarded_dead_letter_is_history_that_still_says_what_went_wrong(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    message_id = die(connection, 1, tag="bill", correlation_id="order-7")
    assert operate(connection, "discard", message_id) == 1
    rows = connection.execute(
        "SELECT id, status, tag, correlation_id, attempts, error_class, error_text, finished_at FROM outbox.history"
    ).fetchall()
    assert rows == [
        (message_id, "discarded", "bill", "order-7", 1, "discarded_by_operator", "Bad Request: no", frozen.at)
    ]
    assert connection.execute("SELECT error_class FROM outbox.attempt").fetchall() == [("bad_request",)]
    assert operate(connection, "payload", message_id) == {"text": "hi"}
    assert operate(connection, "discard", message_id) == 0
    assert operate(connection, "retry", message_id) == 0


def test_a_bot_that_keeps_no_payloads_keeps_none_of_a_discarded_one(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    add_bot(connection, keep_payload=False)
    message_id = die(connection, 1)
    assert operate(connection, "payload", message_id) == {"text": "hi"}
    operate(connection, "discard", message_id)
    assert operate(connection, "payload", message_id) is None


def test_a_filter_discards_the_oldest_first_and_is_on_record(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    made = []
    for chat_id in (3, 1, 2):
        made.append(die(connection, chat_id, tag="old"))
        frozen.advance(1)
    other = die(connection, 4)
    assert operate(connection, "discard", p_tag="old", p_limit=2, p_dry_run=True) == 2
    assert operate(connection, "discard", p_tag="old", p_limit=2) == 2
    assert [status(connection, one) for one in [*made, other]] == ["discarded", "discarded", "dead", "dead"]
    assert operate(connection, "discard", p_tag="old", p_limit=2) == 1
    assert operate(connection, "discard", p_tag="old", p_limit=2) == 0
    assert audited(connection) == [("discard", {"tag": "old"}, count) for count in (2, 1, 0)]
