"""A group that became a supergroup: everything that waits for the old id moves to the new one, in order, at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.invariants.calls import Connection, Lane, add_bot, complete, insert, result, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.sender import Sender
from tests.invariants.sessions import Session

OLD, NEW, NEWEST = "-5", "-1001", "-1009"


@pytest.fixture
def sender(connection: Connection, frozen: FrozenClock) -> Sender:
    # A chain that is followed for ever must fail, not hang.
    connection.execute("SET statement_timeout = '10 s'")
    return Sender(connection, frozen)


def migrate(sender: Sender, chat_id: str = OLD, to: str | int = NEW) -> None:
    """Claim the head of this chat and let Telegram tell its new id."""
    [lane] = sender.take(1)
    assert lane.chat_id == chat_id
    sender.answer(lane, "migrated", migrate_to=str(to))


def waiting(connection: Connection) -> list[tuple[int, str, int]]:
    return connection.execute("SELECT id, chat_id, attempts FROM outbox.message ORDER BY id").fetchall()


def delivered(sender: Sender, seconds: float = 10) -> list[tuple[str, int]]:
    return [(lane.chat_id, lane.message_id) for lane in sender.deliver(seconds)]


def test_every_row_of_the_chat_moves_in_order_and_no_attempt_is_spent(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    rows = [insert(connection, OLD) for _ in range(4)]
    migrate(sender)
    assert waiting(connection) == [(message_id, NEW, 0) for message_id in rows]
    assert broken(connection) == []
    assert delivered(sender) == [(NEW, message_id) for message_id in rows]
    assert [status(connection, message_id) for message_id in rows] == ["sent"] * 4
    assert connection.execute("SELECT DISTINCT attempts FROM outbox.history").fetchall() == [(1,)]


def test_the_new_chat_is_asked_at_once(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, OLD)
    migrate(sender)
    assert len(sender.claim().lanes) == 1, "it has a budget of its own"


def test_rows_at_every_priority_and_scheduled_ones_move_too(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    low, normal, high = (insert(connection, OLD, priority=priority) for priority in (3, 2, 1))
    later = insert(connection, OLD, next_attempt_at=frozen.at + timedelta(hours=1))
    migrate(sender)
    assert broken(connection) == []
    assert delivered(sender) == [(NEW, high), (NEW, normal), (NEW, low)]
    frozen.advance(3600)
    assert delivered(sender, 1) == [(NEW, later)]


def test_later_rows_for_the_old_id_follow(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, OLD)
    migrate(sender)
    sender.deliver(3)
    late = insert(connection, OLD)
    assert delivered(sender, 3) == [(NEW, late)]
    assert connection.execute("SELECT chat_id FROM outbox.history WHERE id = %s", [late]).fetchone() == (NEW,)
    assert broken(connection) == []


def test_later_rows_for_both_ids_go_in_one_order(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, OLD)
    migrate(sender)
    sender.deliver(3)
    rows = [insert(connection, chat_id) for chat_id in (OLD, NEW, OLD, NEW, NEW, OLD)]
    sent = delivered(sender, 20)
    assert sorted(sent) == sorted((NEW, message_id) for message_id in rows), "one lane, one in flight"
    of_new = [message_id for _, message_id in sent if message_id in (rows[1], rows[3], rows[4])]
    of_old = [message_id for _, message_id in sent if message_id in (rows[0], rows[2], rows[5])]
    assert of_new == sorted(of_new)
    assert of_old == sorted(of_old)


def test_rows_that_wait_for_the_new_id_already_take_their_place_among_the_moved(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    first = insert(connection, OLD)
    [lane] = sender.take(1)
    rows = [first, insert(connection, NEW), insert(connection, OLD), insert(connection, NEW)]
    sender.answer(lane, "migrated", migrate_to=NEW)
    assert delivered(sender) == [(NEW, message_id) for message_id in rows]


def test_the_new_id_may_come_as_a_number(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    message_id = insert(connection, OLD)
    [lane] = sender.take(1)
    sender.answer(lane, "migrated", migrate_to=-1001234567890)
    assert delivered(sender, 2) == [("-1001234567890", message_id)]


def test_what_the_new_chat_has_in_flight_stays_in_flight_and_the_moved_wait_for_it(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    moved, own = insert(connection, OLD), insert(connection, NEW)
    lanes = {lane.chat_id: lane for lane in sender.take(2)}
    sender.answer(lanes[OLD], "migrated", migrate_to=NEW)
    frozen.advance(1)
    assert sender.claim().lanes == []
    assert sender.answer(lanes[NEW]) == 1
    assert status(connection, own) == "sent"
    assert broken(connection) == []
    assert delivered(sender, 2) == [(NEW, moved)]


def test_the_same_news_twice_changes_nothing(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    for _ in range(3):
        insert(connection, OLD)
    lanes = sender.take(1)
    sender.answer(lanes, "migrated", migrate_to=NEW)
    tables = ("message", "wakeup", "chat", "attempt")
    before = [connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables]
    assert sender.answer(lanes, "migrated", migrate_to=NEW) == 0
    assert [connection.execute(f"SELECT * FROM outbox.{table}").fetchall() for table in tables] == before


def test_a_chat_that_moves_twice_is_followed_to_its_end(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    first = insert(connection, OLD)
    migrate(sender, OLD, NEW)
    migrate(sender, NEW, NEWEST)
    assert delivered(sender, 2) == [(NEWEST, first)]
    late = [insert(connection, OLD), insert(connection, NEW)]
    assert sorted(delivered(sender, 5)) == [(NEWEST, message_id) for message_id in late]
    assert broken(connection) == []


@pytest.mark.parametrize("circle", [(OLD, NEW), (OLD, NEW, NEWEST)])
def test_chats_that_move_in_a_circle_are_sent_to_in_the_end(
    connection: Connection, frozen: FrozenClock, sender: Sender, circle: tuple[str, ...]
) -> None:
    """Telegram would not do that; a server restored from a copy once might."""
    rows = [insert(connection, OLD)]
    for chat_id, to in zip(circle, (*circle[1:], circle[0]), strict=True):
        migrate(sender, chat_id, to)
    rows += [insert(connection, chat_id) for chat_id in circle]
    assert sorted(message_id for _, message_id in delivered(sender, 20)) == rows
    assert broken(connection) == []


def test_a_chat_that_moves_to_itself_does_not_go_round_for_ever(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, OLD)
    migrate(sender, OLD, OLD)
    assert status(connection, message_id) in ("queued", "dead")
    assert broken(connection) == []
    calls = 0
    for _ in range(100):
        lanes = sender.claim().lanes
        calls += len(lanes)
        sender.answer(lanes, "migrated", migrate_to=OLD)
        frozen.advance(0.1)
    assert calls <= 15, "it asked again as fast as it could"


def test_news_without_an_id_kill_the_message_or_make_it_wait(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, OLD)
    sender.answer(sender.take(1), "migrated")
    assert status(connection, message_id) in ("queued", "dead")
    assert broken(connection) == []


def test_the_outcome_that_comes_with_the_news_does_not_matter(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """An older worker told it as dead; a later one may tell it as retry."""
    message_id = insert(connection, OLD, max_attempts=1)
    sender.answer(sender.take(1), "migrated", migrate_to=NEW, outcome="dead")
    assert delivered(sender, 2) == [(NEW, message_id)]


def test_the_call_is_on_record_under_the_old_id(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, OLD)
    migrate(sender)
    sender.deliver(2)
    rows = connection.execute("SELECT chat_id, attempt, error_class FROM outbox.attempt ORDER BY attempt").fetchall()
    assert rows == [(OLD, 1, "migrated"), (NEW, 2, None)]


def test_other_bots_find_it_out_for_themselves(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    add_bot(connection, "other")
    insert(connection, OLD)
    theirs = insert(connection, OLD, bot="other")
    migrate(sender)
    [lane] = Sender(connection, frozen, "other").take(1)
    assert (lane.chat_id, lane.message_id) == (OLD, theirs)


def test_a_late_sent_from_before_the_move_finishes_the_moved_message(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """The truth is never thrown away (I7): the worker thought dead had sent it, to the old id."""
    message_id = insert(connection, OLD)
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    other = Sender(connection, frozen)
    frozen.advance(5)
    migrate(other)
    sender.answer(lanes, telegram_message_id=77)
    assert status(connection, message_id) == "sent"
    assert delivered(other) == []
    assert broken(connection) == []


def test_late_news_of_a_move_leave_the_flight_of_another_worker_alone(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    message_id = insert(connection, OLD)
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    other = Sender(connection, frozen)
    frozen.advance(5)
    [again] = other.take(1)
    sender.answer(lanes, "migrated", migrate_to=NEW)
    assert broken(connection) == []
    assert other.answer(again) == 1
    assert status(connection, message_id) == "sent"
    assert delivered(other, 5) == [], "it arrived"


def test_a_result_that_was_on_its_way_while_the_chat_moved_is_not_thrown_away(
    connection: Connection, frozen: FrozenClock, sender: Sender
) -> None:
    """Uncertain by a reaped worker, held as a dead letter of the old id, resolved under it."""
    message_id = insert(connection, OLD, on_uncertain="hold")
    lanes = sender.take(1)
    frozen.advance(30)
    connection.execute("SELECT outbox.reap()")
    insert(connection, OLD)
    other = Sender(connection, frozen)
    frozen.advance(5)
    migrate(other)
    sender.answer(lanes)
    assert status(connection, message_id) == "sent"


def test_a_thousand_rows_move_in_one_transaction(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, OLD)
    connection.execute(
        "INSERT INTO outbox.message (chat_id, payload) SELECT %s, '{}' FROM generate_series(1, 999)", [OLD]
    )
    migrate(sender)
    assert connection.execute("SELECT chat_id, count(*) FROM outbox.message GROUP BY 1").fetchall() == [(NEW, 1000)]
    assert broken(connection) == []


def test_a_suppressed_new_chat_stays_suppressed(connection: Connection, frozen: FrozenClock, sender: Sender) -> None:
    insert(connection, NEW)
    sender.answer(sender.take(1), "kicked")
    frozen.advance(2)
    message_id = insert(connection, OLD)
    migrate(sender)
    assert delivered(sender, 1) == []
    assert status(connection, message_id) == "discarded"


# Side by side.


def test_news_of_a_move_beside_a_claim_of_the_new_chat_lose_neither(
    connection: Connection, frozen: FrozenClock, sender: Sender, open_session: Callable[[], Session]
) -> None:
    moved, own = insert(connection, OLD), insert(connection, NEW, next_attempt_at=frozen.at + timedelta(seconds=1))
    [lane] = sender.take(1)
    frozen.advance(1)
    claiming, completing = open_session(), open_session()
    other = Sender(claiming.begin(), frozen)
    [theirs] = other.claim().lanes
    assert theirs.message_id == own
    call = completing.start(bring, sender.worker, (lane, NEW))
    completing.waits(call)
    claiming.commit()
    assert call.result() == 1
    assert broken(connection) == []
    other.answer(theirs)
    assert delivered(sender, 3) == [(NEW, moved)]


def test_a_claim_beside_news_of_a_move_waits_for_nobody(
    connection: Connection, frozen: FrozenClock, sender: Sender, open_session: Callable[[], Session]
) -> None:
    insert(connection, NEW)
    sender.answer(sender.take(1))
    frozen.advance(2)
    moved = insert(connection, OLD)
    [lane] = sender.take(1)
    own = insert(connection, NEW)
    completing, claiming = open_session(), open_session()
    completing.begin()
    assert bring(completing.connection, sender.worker, (lane, NEW)) == 1
    other = Sender(claiming.connection, frozen)
    call = claiming.start(lambda _: other.claim())
    assert not claiming.waits(call)
    completing.commit()
    given = call.result().lanes
    other.answer(given)
    frozen.advance(0.1)
    assert broken(connection) == []
    sent = [message_id for _, message_id in delivered(other, 4)]
    assert sorted([lane.message_id for lane in given] + sent) == [moved, own]


@pytest.mark.parametrize("first", ["the news", "the claim"])
def test_a_wakeup_of_the_new_chat_that_a_claim_drops_beside_news_of_a_move_is_not_missed(
    connection: Connection, frozen: FrozenClock, sender: Sender, open_session: Callable[[], Session], first: str
) -> None:
    """The claim finds nothing in the new chat yet, and takes its wakeup; the moved rows bring one of their own."""
    moved = insert(connection, OLD)
    [lane] = sender.take(1)
    own = insert(connection, NEW)
    [theirs] = sender.take(1)
    insert(connection, NEW)
    claiming, completing = open_session(), open_session()
    other = Sender(claiming.begin(), frozen)
    assert other.claim().lanes == [], "in flight"
    bring(completing.begin(), sender.worker, (lane, NEW))
    for session in (completing, claiming) if first == "the news" else (claiming, completing):
        session.commit()
        sender.settle()
    assert theirs.message_id == own
    sender.answer(theirs)
    assert broken(connection) == []
    assert moved in [message_id for _, message_id in delivered(sender, 5)]


def test_a_claim_of_a_late_row_beside_a_result_of_the_new_chat_loses_neither(
    connection: Connection, frozen: FrozenClock, sender: Sender, open_session: Callable[[], Session]
) -> None:
    """The claim finds the old lane and must take the new one too, which the other holds: it comes back."""
    insert(connection, OLD)
    migrate(sender)
    [lane] = sender.take(1)
    late = insert(connection, OLD)
    completing, claiming = open_session(), open_session()
    completing.begin()
    assert bring(completing.connection, sender.worker, (lane, None)) == 1
    other = Sender(claiming.connection, frozen)
    call = claiming.start(lambda _: other.claim())
    assert not claiming.waits(call)
    assert call.result().lanes == []
    completing.commit()
    frozen.advance(2)
    assert broken(connection) == []
    assert delivered(other, 3) == [(NEW, late)]


def test_news_of_two_moves_in_opposite_directions_do_not_wait_for_each_other_in_a_circle(
    connection: Connection, frozen: FrozenClock, sender: Sender, open_session: Callable[[], Session]
) -> None:
    """Chat 6 is the gate: who locks the chats it was told of before the ones they move to stands before it."""
    for chat_id in ("1", "4", "6"):
        insert(connection, chat_id)
    lanes = {lane.chat_id: lane for lane in sender.take(3)}
    gate, one, other = open_session(), open_session(), open_session()
    gate.begin().execute("SELECT FROM outbox.chat WHERE chat_id = '6' FOR UPDATE")
    upper = one.start(bring, sender.worker, (lanes["4"], "1"), (lanes["6"], None))
    assert one.waits(upper)
    lower = other.start(bring, sender.worker, (lanes["1"], "4"))
    other.waits(lower)
    gate.commit()
    assert upper.result() + lower.result() == 3
    assert broken(connection) == []


def bring(connection: Connection, worker: int, *news: tuple[Lane, str | None]) -> int:
    """Tell on another connection that these lanes moved there; None: that it was sent."""
    columns = {"outcome": "retry", "meaning": "migrated", "reach": "chat", "error_class": "migrated"}
    return complete(
        connection,
        worker,
        [result(lane) if to is None else result(lane, migrate_to=to, **columns) for lane, to in news],
    )
