"""The checker itself: it must see every kind of lie, or the long runs prove nothing."""

import copy

import pytest

from bench.load.producer import Producer
from bench.noop import NoopWorker
from tests.chaos.checker import check

CHATS = (1, 1, 2, 3)


@pytest.fixture
def told(db):
    """Four messages that a worker without HTTP sent, and the ledger that a simulator would have kept of it."""
    db.execute("UPDATE outbox.bot SET rate = NULL, chat_interval_s = 0")
    producer = Producer(db.url, seed=1)
    chats = iter(CHATS)
    producer.insert(len(CHATS), lambda: next(chats), priorities=(2,))
    producer.close()
    with db.connect() as connection:
        worker = NoopWorker(connection, batch=10)
        while worker.turn():
            pass
    log = [
        {
            "text": message.text,
            "chat": message.chat_id,
            "status": 200,
            "verdict": "accepted",
            "executed_at": 1000.0 + place,
            "message_id": 1,
        }
        for place, message in enumerate(producer.accepted)
    ]
    return producer.accepted, log


def _findings(db, accepted, log, **options):
    with db.connect() as connection:
        return check(connection, log, accepted, **options).findings


def test_a_ledger_that_agrees_is_found_to_agree(db, told):
    accepted, log = told

    assert _findings(db, accepted, log) == ()


def _drop(log):
    log.pop(1)


def _repeat(log):
    log.append(log[2] | {"executed_at": 1010.0})


def _swap(log):
    log[0]["executed_at"], log[1]["executed_at"] = log[1]["executed_at"], log[0]["executed_at"]


def _intrude(log):
    log.append(log[0] | {"text": "from nowhere"})


def _misdirect(log):
    log[3]["chat"] = "99"


def _renumber(log):
    log[3]["message_id"] = 7


def _refuse_unseen(log):
    log.append(log[3] | {"status": 429, "verdict": "bot", "executed_at": None})


def _change_status(log):
    log[3]["status"] = 500


LIES = (
    (_drop, "never executed"),
    (_repeat, "executed 2 times"),
    (_swap, "whose turn it was"),
    (_intrude, "nobody inserted"),
    (_misdirect, "sent to chat"),
    (_renumber, "the simulator gave"),
    (_refuse_unseen, "2 calls, 1 attempts"),
    (_change_status, "did not give"),
)


def test_a_ledger_that_differs_from_history_is_found_out_whatever_the_difference(db, told):
    accepted, log = told
    unseen = []
    for lie, words in LIES:
        changed = copy.deepcopy(log)
        lie(changed)
        if words not in "\n".join(_findings(db, accepted, changed)):
            unseen.append(lie.__name__)

    assert unseen == []


def test_a_message_that_vanished_is_found_out(db, told):
    accepted, log = told
    db.execute("DELETE FROM outbox.finished WHERE id = %s", [accepted[0].id])

    findings = "\n".join(_findings(db, accepted, log))

    assert f"message {accepted[0].id} is in 0 states" in findings
    assert "(I8)" in findings


def test_a_message_in_two_states_is_found_out(db, told):
    accepted, log = told
    db.execute(
        """INSERT INTO outbox.message (id, chat_id, payload)
           OVERRIDING SYSTEM VALUE VALUES (%s, '1', '{"text": "again"}')""",
        [accepted[0].id],
    )

    assert f"message {accepted[0].id} is in 2 states" in "\n".join(_findings(db, accepted, log))


def test_a_repetition_is_explained_by_an_uncertain_attempt_only_where_it_may_be_repeated(db, told):
    accepted, log = told
    log = copy.deepcopy(log)
    _repeat(log)
    db.execute(
        """INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)
           VALUES (%s, 0, 'default', '2', now(), 'uncertain')""",
        [accepted[2].id],
    )

    assert _findings(db, accepted, log) == ()
    held = [message._replace(on_uncertain="hold") for message in accepted]
    assert "on_uncertain is hold" in "\n".join(_findings(db, held, log))


def test_a_message_put_back_by_an_operator_is_not_out_of_order(db, told):
    accepted, log = told
    log = copy.deepcopy(log)
    _swap(log)

    assert _findings(db, accepted, log, out_of_turn=[accepted[0].id]) == ()
