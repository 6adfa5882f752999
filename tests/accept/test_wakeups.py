"""Every insert files its wakeups, waits for nobody and rings only for a worker that is idle."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest


def _wakeups(db: Any) -> list[tuple[Any, ...]]:
    return list(db.execute("SELECT bot, chat_id, priority FROM outbox.wakeup ORDER BY 1, 2, 3, due_at"))


def test_one_wakeup_per_bot_chat_priority_and_time(db):
    db.execute("SELECT outbox.set_bot('alerts')")
    db.execute(
        "INSERT INTO outbox.message (bot, chat_id, payload, priority, next_attempt_at)"
        " SELECT bot, chat, '{}', priority, at"
        "   FROM unnest(ARRAY['default', 'alerts']) bot, unnest(ARRAY['1', '2']) chat, unnest(ARRAY[0, 2]) priority,"
        "        unnest(ARRAY[now(), now() + interval '1 h']) at, generate_series(1, 3)"
    )
    assert db.execute("SELECT count(*) FROM outbox.message") == [(48,)]
    assert _wakeups(db) == sorted(
        (bot, chat, priority) for bot in ("default", "alerts") for chat in "12" for priority in (0, 2) for _ in range(2)
    )


def test_a_wakeup_is_due_no_later_than_its_message_and_not_before_now(db):
    db.execute(
        "INSERT INTO outbox.message (chat_id, payload, next_attempt_at)"
        " VALUES (1, '{}', now() - interval '1 day'), (2, '{}', now() + interval '1 day')"
    )
    assert db.execute(
        "SELECT w.due_at = greatest(m.next_attempt_at, m.created_at) FROM outbox.wakeup w"
        "  JOIN outbox.message m USING (chat_id)"
    ) == [(True,), (True,)]


def test_an_insert_of_no_row_files_nothing(db):
    db.execute("INSERT INTO outbox.message (chat_id, payload) SELECT '1', '{}' WHERE false")
    assert _wakeups(db) == []


def test_rolled_back_messages_leave_no_wakeup(db):
    with db.connect(autocommit=False) as connection:
        connection.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}')")
        connection.rollback()
    assert _wakeups(db) == []


def test_open_transactions_that_write_to_one_chat_do_not_wait_for_each_other(db):
    with db.connect(autocommit=False) as first, db.connect(autocommit=False) as second:
        for connection in (first, second, first, second):
            connection.execute("SET LOCAL lock_timeout = '200ms'")
            connection.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}')")
        second.commit()
        first.commit()
    assert db.execute("SELECT count(*) FROM outbox.message") == [(4,)]


def test_an_insert_waits_for_no_row_of_bot_bucket_chat_or_worker(db):
    db.execute("INSERT INTO outbox.chat (chat_id, bot) VALUES ('1', 'default')")
    db.execute("SELECT outbox.register_worker('w', '{default}', NULL, NULL, NULL)")
    with db.connect(autocommit=False) as holder, db.connect(autocommit=False) as writer:
        for table in ("bot", "bucket", "chat", "worker"):
            holder.execute(f"SELECT FROM outbox.{table} FOR UPDATE")
        writer.execute("SET LOCAL lock_timeout = '200ms'")
        writer.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}')")
        writer.commit()


def test_an_insert_locks_no_row_and_takes_no_advisory_lock(db):
    with db.connect(autocommit=False) as writer:
        writer.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}')")
        locks = db.execute(
            "SELECT DISTINCT locktype, mode, relation::regclass::text FROM pg_locks"
            " WHERE pid = %s AND (locktype NOT IN ('relation', 'virtualxid', 'transactionid')"
            "                     OR locktype = 'relation' AND mode NOT IN ('AccessShareLock', 'RowExclusiveLock'))",
            [writer.info.backend_pid],
        )
        marked = db.execute("SELECT count(*) FROM outbox.bot WHERE xmax <> 0")
    assert locks == []
    assert marked == [(0,)]


def _bells(db: Any, insert: str) -> list[str]:
    """Run the insert and return what is heard. A bell of ours, rung later, says when to stop listening."""
    with db.connect() as listener:
        listener.execute("LISTEN outbox_wakeup")
        db.execute(insert)
        db.execute("SELECT pg_notify('outbox_wakeup', 'the end')")
        heard = []
        for notify in listener.notifies(timeout=10):
            if notify.payload == "the end":
                return heard
            heard.append(notify.payload)
    raise AssertionError("our own bell was not heard")


DUE = "INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}'), (2, '{}')"


def _register(db: Any, *, idle: bool = True, bots: str = "{default}") -> int:
    [(worker,)] = db.execute("SELECT outbox.register_worker('w', %s, NULL, NULL, NULL)", [bots])
    db.execute("SELECT outbox.heartbeat(%s, %s)", [worker, idle])
    return int(worker)


def test_an_idle_worker_is_rung_for_once_per_bot_and_statement(db):
    _register(db)
    assert _bells(db, DUE) == ["default"]


def test_no_bell_without_a_worker(db):
    assert _bells(db, DUE) == []


def test_no_bell_while_the_worker_is_busy(db):
    _register(db, idle=False)
    assert _bells(db, DUE) == []


def test_no_bell_for_a_worker_of_other_bots(db):
    _register(db, bots="{alerts}")
    assert _bells(db, DUE) == []


def test_no_bell_for_a_worker_that_left(db):
    db.execute("SELECT outbox.leave(%s)", [_register(db)])
    assert _bells(db, DUE) == []


def test_no_bell_for_a_worker_whose_lease_ran_out(db):
    worker = _register(db)
    db.execute("UPDATE outbox.worker SET lease_until = now() - interval '1 s' WHERE id = %s", [worker])
    assert _bells(db, DUE) == []


def test_scheduled_messages_ring_no_bell(db):
    _register(db)
    assert (
        _bells(
            db,
            "INSERT INTO outbox.message (chat_id, payload, next_attempt_at) VALUES (1, '{}', now() + interval '1 h')",
        )
        == []
    )


def test_a_reader_of_the_queue_does_not_stop_an_insert(db):
    with db.connect(autocommit=False) as reader, db.connect(autocommit=False) as writer:
        reader.execute("SELECT count(*) FROM outbox.due")
        writer.execute("SET LOCAL lock_timeout = '200ms'")
        try:
            writer.execute("INSERT INTO outbox.message (chat_id, payload) VALUES (1, '{}')")
        except psycopg.errors.LockNotAvailable:
            pytest.fail("waited")
