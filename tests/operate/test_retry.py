"""Dead letters go back into their lanes: what they keep, which ones, and that limits hold."""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
import pytest

from tests.invariants.calls import Connection, add_bot, claim, finish, insert, register, status
from tests.invariants.checks import broken
from tests.invariants.frozen_clock import FrozenClock
from tests.operate.dead_letters import audited, die, limited, operate, unlimited

MESSAGE = (
    "SELECT bot, chat_id, method, payload, priority, next_attempt_at, correlation_id, idempotency_key, collapse_key,"
    " on_uncertain, tag, created_at FROM outbox.message WHERE id = %s"
)


def test_a_retried_message_is_the_same_in_everything_that_its_writer_set(
    connection: Connection, frozen: FrozenClock
) -> None:
    unlimited(connection)
    columns: dict[str, Any] = {
        "method": "sendPhoto",
        "priority": 1,
        "correlation_id": "order-7",
        "idempotency_key": "once",
        "collapse_key": "c",
        "on_uncertain": "hold",
        "tag": "bill",
    }
    message_id = insert(connection, "-100", {"photo": "x"}, **columns)
    before = connection.execute(MESSAGE, [message_id]).fetchall()
    worker = register(connection)
    finish(connection, worker, claim(connection, worker).lanes, "dead", error_text="Bad Request: no")
    assert status(connection, message_id) == "dead"
    frozen.advance(3600)
    assert operate(connection, "retry", message_id) == 1
    assert connection.execute(MESSAGE, [message_id]).fetchall() == before
    rows = connection.execute("SELECT attempts, calls, last_error, expires_at FROM outbox.message").fetchall()
    assert rows == [(1, 1, "Bad Request: no", None)]
    assert status(connection, message_id) == "queued"
    assert connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchall() == [(0,)]
    assert broken(connection) == []


def test_exhausted_then_retried_then_sent_with_the_whole_history(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    worker, message_id = register(connection), insert(connection, 1, max_attempts=2)
    for _ in range(2):
        assert finish(connection, worker, claim(connection, worker).lanes, "retry", error_class="server_error") == 1
        frozen.advance(31)
    assert status(connection, message_id) == "dead"
    assert operate(connection, "retry", p_class="server_error") == 1
    finish(connection, worker, claim(connection, worker).lanes, "retry", error_class="server_error")
    frozen.advance(31)
    assert status(connection, message_id) == "queued"
    finish(connection, worker, claim(connection, worker).lanes)
    rows = connection.execute("SELECT attempt, outcome FROM outbox.attempt ORDER BY attempt").fetchall()
    assert rows == [(1, "retry"), (2, "retry"), (3, "retry"), (4, "sent")]
    assert connection.execute("SELECT id, status, attempts FROM outbox.history").fetchall() == [(message_id, "sent", 4)]
    assert broken(connection) == []


@pytest.mark.parametrize(
    ("own", "bots", "again"), [(None, 3, [3, 3, 3]), (2, 3, [2, 3, 3]), (3, 2, [2, 2, 2])], ids=str
)
def test_it_gets_as_many_attempts_again_but_never_more_than_its_bot_gives(
    connection: Connection, frozen: FrozenClock, own: int | None, bots: int, again: list[int]
) -> None:
    unlimited(connection)
    add_bot(connection, max_attempts=bots)
    worker, message_id = register(connection), insert(connection, 1, **({"max_attempts": own} if own else {}))

    def calls_until_death() -> int:
        calls = 0
        while status(connection, message_id) == "queued":
            calls += finish(connection, worker, claim(connection, worker).lanes, "retry")
            frozen.advance(31)
        return calls

    assert calls_until_death() == (own or bots)
    for expected in again:
        assert operate(connection, "retry", message_id) == 1
        assert calls_until_death() == expected


def test_it_no_longer_expires(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    message_id = die(connection, 1, expires_at=frozen.at.replace(microsecond=1))
    frozen.advance(3600)
    operate(connection, "retry", message_id)
    worker = register(connection)
    assert claim(connection, worker).message_ids == [message_id]


def test_the_key_still_refuses_a_repetition(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    message_id = die(connection, 1, idempotency_key="once")
    assert operate(connection, "retry", message_id) == 1
    connection.execute("INSERT INTO outbox.message (chat_id, payload, idempotency_key) VALUES (1, '{}', 'once')")
    assert connection.execute("SELECT id, idempotency_key FROM outbox.message").fetchall() == [(message_id, "once")]


def test_it_goes_before_what_was_written_after_it(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    first = die(connection, 1)
    second = insert(connection, 1)
    operate(connection, "retry", first)
    worker = register(connection)
    [lane] = claim(connection, worker).lanes
    assert lane.message_id == first
    finish(connection, worker, [lane])
    assert claim(connection, worker).message_ids == [second]


def test_it_lifts_the_suppression_of_its_chats_alone(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    message_id = die(connection, 1, error_class="blocked")
    die(connection, 2, error_class="blocked")
    connection.execute(
        "UPDATE outbox.chat SET suppressed_until = outbox.clock() + interval '7 days', suppressed_at = outbox.clock(),"
        " suppressed_reason = 'blocked', suppression_evidence = 1"
    )
    operate(connection, "retry", message_id)
    rows = connection.execute(
        "SELECT chat_id, suppressed_until IS NULL, suppressed_at IS NULL, suppressed_reason, suppression_evidence"
        "  FROM outbox.chat ORDER BY 1"
    ).fetchall()
    assert rows == [("1", True, True, None, 0), ("2", False, False, "blocked", 1)]
    assert claim(connection, register(connection)).message_ids == [message_id]


def test_a_held_message_goes_again_because_a_person_said_so(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    worker, message_id = register(connection), insert(connection, 1, on_uncertain="hold")
    finish(connection, worker, claim(connection, worker).lanes, "uncertain", error_class="timeout")
    assert status(connection, message_id) == "uncertain"
    assert operate(connection, "retry", p_class="timeout", p_status="dead") == 0
    assert operate(connection, "retry", p_class="timeout") == 1
    assert claim(connection, worker).message_ids == [message_id]


def test_every_condition_chooses_what_it_says(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    add_bot(connection, "alerts")
    unlimited(connection, "alerts")
    made = {
        "plain": die(connection, 1),
        "bot": die(connection, 1, bot="alerts"),
        "class": die(connection, 2, error_class="not_found"),
        "tag": die(connection, 3, tag="bill"),
        "text": die(connection, 4, error_text="Only 50%_off\\ is SILLY"),
    }
    noon = frozen.advance(3600)
    made["late"] = die(connection, 5)

    def chosen(**condition: Any) -> set[str]:
        count = operate(connection, "retry", **condition, p_dry_run=True)
        connection.execute("BEGIN")
        assert operate(connection, "retry", **condition) == count
        ids = {row[0] for row in connection.execute("SELECT id FROM outbox.message").fetchall()}
        connection.execute("ROLLBACK")
        return {name for name, message_id in made.items() if message_id in ids}

    assert chosen(p_bot="alerts") == {"bot"}
    assert chosen(p_class="not_found") == {"class"}
    assert chosen(p_tag="bill") == {"tag"}
    assert chosen(p_text="%_OFF\\ is silly") == {"text"}
    assert chosen(p_text="%") == {"text"}
    assert chosen(p_text="5__") == set()
    assert chosen(p_since=noon) == {"late"}
    assert chosen(p_until=noon) == set(made) - {"late"}
    assert chosen(p_ids=[made["tag"], made["late"], 0]) == {"tag", "late"}
    assert chosen(p_ids=[]) == set()
    assert chosen(p_ids=[made["tag"], made["late"]], p_until=noon) == {"tag"}
    assert chosen(p_bot="default", p_class="bad_request", p_until=noon) == {"plain", "tag", "text"}
    assert chosen(p_status="uncertain") == set()
    assert chosen(p_status="dead") == set(made)


@pytest.mark.parametrize("verb", ["retry", "discard"])
@pytest.mark.parametrize(
    ("given", "says", "hint"),
    [
        ({}, "nothing says which dead letters to ", "every one"),
        ({"p_text": ""}, "nothing says which dead letters to ", "every one"),
        ({"p_dry_run": True}, "nothing says which dead letters to ", "every one"),
        ({"p_bot": "nobody"}, 'bot "nobody" does not exist', "outbox.bot"),
        ({"p_tag": "x", "p_limit": 0}, "p_limit 0 is no size", "1 to 10000"),
        ({"p_tag": "x", "p_limit": 10001}, "p_limit 10001 is no size", "1 to 10000"),
        ({"p_tag": "x", "p_limit": None}, "p_limit NULL is no size", "1 to 10000"),
        ({"p_status": "sent"}, 'a dead letter is never "sent"', "dead or uncertain"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_one_line(
    connection: Connection, verb: str, given: dict[str, Any], says: str, hint: str
) -> None:
    with pytest.raises(psycopg.Error, match=says) as refused:
        operate(connection, verb, **given)
    assert hint in (refused.value.diag.message_hint or "")
    assert refused.value.diag.message_detail is None
    assert audited(connection) == []


def test_the_oldest_go_first_in_batches_until_none_is_left(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    made = []
    for chat_id in (5, 3, 4, 1, 2):
        made.append(die(connection, chat_id))
        frozen.advance(1)
    counts, seen = [], []
    while True:
        counts.append(operate(connection, "retry", p_bot="default", p_limit=2))
        rows = connection.execute("SELECT id FROM outbox.message WHERE id <> ALL (%s) ORDER BY id", [seen]).fetchall()
        assert {row[0] for row in rows} == set(made[len(seen) : len(seen) + 2])
        seen += [row[0] for row in rows]
        if counts[-1] == 0:
            break
    assert counts == [2, 2, 1, 0]
    assert broken(connection) == []


def test_a_dry_run_counts_within_the_limit_and_leaves_no_trace(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    for chat_id in range(1, 4):
        die(connection, chat_id)
    assert operate(connection, "retry", p_bot="default", p_dry_run=True) == 3
    assert operate(connection, "retry", p_bot="default", p_limit=2, p_dry_run=True) == 2
    assert connection.execute("SELECT count(*) FROM outbox.dead_letter").fetchall() == [(3,)]
    assert audited(connection) == []


def test_who_what_which_and_how_many_are_on_record(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    message_id = die(connection, 1)
    operate(connection, "retry", p_bot="default", p_class="bad_request", p_text="NO")
    connection.execute("SELECT set_config('outbox.operator', 'ann', false)")
    operate(connection, "retry", message_id)
    assert audited(connection) == [
        ("retry", {"bot": "default", "class": "bad_request", "text": "NO"}, 1),
        ("retry", {"ids": [message_id]}, 0),
    ]
    user = connection.info.user
    assert connection.execute("SELECT who FROM outbox.audit ORDER BY id").fetchall() == [(user,), (f"{user} (ann)",)]


def test_an_idle_worker_hears_of_it(db: Any, connection: Connection) -> None:
    unlimited(connection)
    message_id = die(connection, 1)
    register(connection)
    with db.connect() as listener:
        listener.execute("LISTEN outbox_wakeup")
        operate(connection, "retry", message_id)
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == ["default"]


def test_retried_ones_of_one_chat_obey_its_interval(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    made = [die(connection, 1) for _ in range(20)]
    limited(connection)
    frozen.advance(10)
    assert operate(connection, "retry", p_until=frozen.advance(1)) == 20
    worker, sent_at = register(connection), []
    while len(sent_at) < 5:
        lanes = claim(connection, worker).lanes
        assert len(lanes) <= 1
        if lanes:
            assert lanes[0].message_id == made[len(sent_at)]
            sent_at.append(max(lanes[0].slot_at, frozen.at))
            frozen.set(sent_at[-1])
            finish(connection, worker, lanes)
        frozen.advance(0.1)
    assert min((b - a).total_seconds() for a, b in itertools.pairwise(sent_at)) >= 1


def test_retried_ones_of_many_chats_obey_the_bots_rate(connection: Connection, frozen: FrozenClock) -> None:
    unlimited(connection)
    for chat_id in range(1, 101):
        die(connection, chat_id)
    limited(connection)
    frozen.advance(10)
    assert operate(connection, "retry", p_bot="default") == 100
    worker, slots = register(connection), []
    until = frozen.advance(0).timestamp() + 1
    while frozen.at.timestamp() < until:
        slots += [lane.slot_at for lane in claim(connection, worker, n=100).lanes]
        frozen.advance(0.05)
    assert 0 < len(slots) <= 33, "30 in a second, and those of the horizon"
    assert broken(connection) == []


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_any_other_isolation_level_is_refused(connection: Connection, isolation: str) -> None:
    connection.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    with pytest.raises(psycopg.errors.InvalidTransactionState, match="retry runs in READ COMMITTED only"):
        operate(connection, "retry", 1)
