"""What must come of cancels, collapse keys and targets in short scenes, as checks that the mutations share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.invariants.calls import Connection, add_bot, cancel, claim, finish, insert, register, status, sweep
from tests.invariants.checks import broken
from tests.invariants.sender import Sender
from tests.invariants.stage import Stage


def count(connection: Connection, what: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM outbox.{what}").fetchone()
    assert row is not None
    return int(row[0])


def sent_in_order(stage: Stage, most: int, **columns: Any) -> list[int]:
    """The messages that go from now on, each answered as sent."""
    sender = Sender(stage.connection, stage.frozen)
    ids = [lane.message_id for lane in sender.deliver(1.5 * most + 1, **columns)]
    assert len(ids) <= most
    return ids


def statuses(stage: Stage, *ids: int) -> list[str | None]:
    return [status(stage.connection, message_id) for message_id in ids]


def a_cancel_behind_a_flight_is_applied_when_the_answer_comes(stage: Stage) -> None:
    """The wakeup that it filed was dropped, because its lane was in flight."""
    connection, worker = stage.connection, register(stage.connection)
    insert(connection, 1)
    later = insert(connection, 1, next_attempt_at=stage.frozen.at + timedelta(days=1))
    lanes = claim(connection, worker).lanes
    cancel(connection, later)
    assert claim(connection, worker).lanes == []
    finish(connection, worker, lanes)
    assert status(connection, later) == "cancelled"


def a_cancelled_message_ends_before_its_time(stage: Stage) -> None:
    connection, worker = stage.connection, register(stage.connection)
    later = insert(connection, 1, next_attempt_at=stage.frozen.at + timedelta(days=1))
    cancel(connection, later)
    claim(connection, worker)
    assert status(connection, later) == "cancelled"


def a_cancel_follows_its_message_to_the_chats_new_id(stage: Stage) -> None:
    connection, worker = stage.connection, register(stage.connection)
    insert(connection, -5)
    later = insert(connection, -5, next_attempt_at=stage.frozen.at + timedelta(days=1))
    lanes = claim(connection, worker).lanes
    cancel(connection, later)
    finish(connection, worker, lanes, "retry", meaning="migrated", reach="chat", migrate_to="-1005")
    stage.frozen.advance(0.01)
    claim(connection, worker)
    assert status(connection, later) == "cancelled"


def a_tag_covers_what_was_inserted_until_then(stage: Stage) -> None:
    earlier = insert(stage.connection, 1, tag="news")
    cancel(stage.connection, tag="news")
    later = insert(stage.connection, 1, tag="news")
    assert sent_in_order(stage, 2) == [later]
    assert statuses(stage, earlier) == ["cancelled"]


def a_tag_that_was_cancelled_before_the_first_message_covers_nothing(stage: Stage) -> None:
    cancel(stage.connection, tag="news")
    first = insert(stage.connection, 1, tag="news")
    assert sent_in_order(stage, 1) == [first]


def sweep_leaves_what_is_in_flight(stage: Stage) -> None:
    connection, worker = stage.connection, register(stage.connection)
    message_id = insert(connection, 1, tag="news")
    lanes = claim(connection, worker).lanes
    cancel(connection, tag="news")
    sweep(connection)
    assert broken(connection) == []
    finish(connection, worker, lanes)
    assert status(connection, message_id) == "sent"


def lanes_that_claim_looks_at_and_does_not_take_keep_their_turn(stage: Stage) -> None:
    """Behind a cancelled tag it looks at many at a time: whose wakeup comes back comes back with its time (I1)."""
    connection, at = stage.connection, stage.frozen.at
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, tag, next_attempt_at)"
        " SELECT i::text, '{}', CASE WHEN i <= 60 THEN 'news' END, %s + make_interval(secs => i / 1000.0)"
        "   FROM generate_series(1, 400) i",
        [at],
    )
    cancel(connection, tag="news")
    stage.frozen.advance(1)
    sender = Sender(connection, stage.frozen)
    sent = []
    for _ in range(10):
        sent += [int(lane.chat_id) for lane in sender.deliver(0.1)]
        assert broken(connection) == []
    assert len(sent) > 20
    # In order, but for a claim's worth.
    assert max(abs(chat_id - 61 - place) for place, chat_id in enumerate(sent)) <= 4


def the_newest_of_a_collapse_key_goes(stage: Stage) -> None:
    old, middle, new = (insert(stage.connection, 1, collapse_key="score") for _ in range(3))
    assert sent_in_order(stage, 3) == [new]
    assert statuses(stage, old, middle) == ["superseded", "superseded"]


def the_newest_goes_in_the_oldest_ones_place(stage: Stage) -> None:
    connection = stage.connection
    with connection.transaction():  # their times are equal
        insert(connection, 1, collapse_key="score")
        between = insert(connection, 1)
        new = insert(connection, 1, collapse_key="score", priority=3)
    assert sent_in_order(stage, 3) == [new, between]


def one_whose_tag_was_cancelled_supersedes_nothing(stage: Stage) -> None:
    """Otherwise neither goes."""
    old = insert(stage.connection, 1, collapse_key="score")
    new = insert(stage.connection, 1, collapse_key="score", tag="news")
    cancel(stage.connection, tag="news")
    assert sent_in_order(stage, 2) == [old]
    assert statuses(stage, new) == ["cancelled"]


def a_follower_does_not_supersede_its_own_target(stage: Stage) -> None:
    """An edit under the key of the message that it edits: otherwise neither goes."""
    target = insert(stage.connection, 1, collapse_key="score")
    edits = [insert(stage.connection, 1, collapse_key="score", target_id=target) for _ in range(2)]
    assert sent_in_order(stage, 3, telegram_message_id=900) == [target, edits[1]]
    assert statuses(stage, edits[0]) == ["superseded"]


def a_follower_supersedes_no_message_of_its_own(stage: Stage) -> None:
    """Only edits and answers of one message collapse: should the target end unsent, the others still go."""
    target = insert(stage.connection, 1)
    old, new = (insert(stage.connection, 1, collapse_key="score") for _ in range(2))
    edit = insert(stage.connection, 1, collapse_key="score", target_id=target)
    assert sent_in_order(stage, 4, telegram_message_id=900) == [target, new, edit]
    assert statuses(stage, old) == ["superseded"]


def a_follower_goes_behind_its_target(stage: Stage) -> None:
    """And behind that one's target, whatever their priorities and times."""
    connection, at = stage.connection, stage.frozen.at
    target = insert(connection, 1, priority=3, next_attempt_at=at + timedelta(seconds=1))
    second = insert(connection, 1, priority=2, target_id=target)
    third = insert(connection, 1, priority=0, target_id=second, next_attempt_at=at - timedelta(seconds=1))
    other = insert(connection, 1, priority=3)
    assert sent_in_order(stage, 4, telegram_message_id=900) == [other, target, second, third]
    assert broken(connection) == []


def a_number_that_telegram_gave_in_another_chat_is_none(stage: Stage) -> None:
    """It numbers messages per chat: the same number here is somebody else's message."""
    target = insert(stage.connection, 1)
    assert sent_in_order(stage, 1, telegram_message_id=900) == [target]
    follower = insert(stage.connection, 2, target_id=target)
    assert sent_in_order(stage, 1) == []
    assert statuses(stage, follower) == ["dead"]


def hundreds_of_followers_hold_no_claim_for_long(stage: Stage) -> None:
    """A hundred per lane and claim: the bot's bucket is held meanwhile, and a claim that times out comes again."""
    connection, worker = stage.connection, register(stage.connection)
    add_bot(connection, chat_interval_s=0)
    soon = stage.frozen.at + timedelta(seconds=1)
    target = insert(connection, 1, next_attempt_at=soon)
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload, priority, target_id)"
        " SELECT '1', '{}', 1, %s FROM generate_series(1, 250)",
        [target],
    )
    for moved in (100, 200, 250):
        claim(connection, worker)
        assert (
            count(connection, f"message WHERE priority = 2 AND next_attempt_at = '{soon}' AND target_id > 0") == moved
        )
        stage.frozen.advance(0.01)
    cancel(connection, target)
    stage.frozen.advance(1)
    for left in (150, 50, 0):
        claim(connection, worker)
        assert count(connection, "message") == left
        stage.frozen.advance(0.01)
    assert count(connection, "history WHERE error_class = 'target_not_sent'") == 250
