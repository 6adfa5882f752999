"""Producers, workers, the reaper and sweep at once, in real time: what no script thought of, and every deadlock."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.conftest import Database
from tests.invariants.calls import (
    Connection,
    Lane,
    Result,
    add_bot,
    cancel,
    claim,
    complete,
    insert,
    register,
    result,
    sweep,
)
from tests.invariants.checks import broken

SEED = 7
CHATS, MESSAGES, PRODUCERS, WORKERS = 9, 120, 2, 3
OUTCOMES = ("sent", "sent", "sent", "retry", "uncertain", "wait", "unsent")


def test_everything_ends_once_whoever_runs_beside_whom(db: Database) -> None:
    with db.connect() as judge:
        add_bot(
            judge, rate=None, chat_interval_s=0, backoff_initial_s=0.001, backoff_max_s=0.002, max_attempts=1_000_000
        )
        done = threading.Event()
        with ThreadPoolExecutor() as threads:
            producers = [threads.submit(produce, db.connect, SEED + i) for i in range(PRODUCERS)]
            others = [threads.submit(work, db.connect, SEED + i, done) for i in range(WORKERS)]
            others.append(threads.submit(end_leases, db.connect, SEED, done))
            others.append(threads.submit(sweep_on, db.connect, done))
            try:
                for producer in producers:
                    producer.result()
                while waiting(judge) and not any(other.done() for other in others):
                    assert broken(judge) == [], f"seed {SEED}"
            finally:
                done.set()
            for other in others:
                other.result()
        rows = judge.execute("SELECT id, status, coalesce(error_class, '') FROM outbox.history").fetchall()
        assert len({row[0] for row in rows}) == len(rows) == PRODUCERS * MESSAGES
        assert {row[1:] for row in rows} <= {
            ("sent", ""),
            ("cancelled", "cancelled"),
            ("superseded", "superseded"),
            ("discarded", "target_not_sent"),
            ("dead", "target_died"),
            ("dead", "target_missing"),
        }
        ends = Counter(row[1] for row in rows)
        assert min(ends[end] for end in ("sent", "cancelled", "superseded", "discarded")) >= 3, ends
        assert judge.execute("SELECT outbox.repair()").fetchone() == (0,)
        assert broken(judge) == []


def waiting(judge: Connection) -> bool:
    return judge.execute("SELECT EXISTS (SELECT FROM outbox.message)").fetchone() == (True,)


def produce(connect: Callable[[], Connection], seed: int) -> None:
    """Insert and cancel, four messages a transaction; some chats are new, some messages follow others."""
    draw = random.Random(seed)
    ids: dict[int, list[int]] = {}
    with connect() as connection:
        for _ in range(MESSAGES // 4):
            with connection.transaction():
                for _ in range(4):
                    chat_id = draw.randint(1, CHATS) if draw.random() < 0.8 else draw.randint(1000, 9999)
                    earlier = ids.setdefault(chat_id, [])
                    message_id = insert(
                        connection,
                        chat_id,
                        priority=draw.randint(0, 3),
                        collapse_key=draw.choice([None, None, None, "score"]),
                        tag=draw.choice([None, None, None, "news"]),
                        target_id=earlier[-1] if earlier and draw.random() < 0.2 else None,
                    )
                    earlier.append(message_id)
                if draw.random() < 0.3:
                    cancel(connection, draw.choice(earlier))
                if draw.random() < 0.05:
                    cancel(connection, tag="news")


def work(connect: Callable[[], Connection], seed: int, done: threading.Event) -> None:
    """Claim and complete in any order and batch until all is sent; some batches come twice."""
    draw = random.Random(seed)
    with connect() as connection:
        worker = register(connection)
        told: list[Result] = []
        while not done.is_set():
            try:
                lanes = claim(connection, worker, n=draw.randint(1, 5)).lanes
            except psycopg.Error as error:
                if error.sqlstate != "OB001":
                    raise
                worker = register(connection)
                continue
            again = draw.sample(told, min(len(told), draw.randint(0, 2)))
            batch = [answer(lane, draw.choice(OUTCOMES)) for lane in lanes]
            told = (told + batch)[-6:]
            draw.shuffle(batch)
            complete(connection, worker, batch + again)


def answer(lane: Lane, outcome: str) -> Result:
    return result(
        lane, outcome, retry_after_s=0.001, telegram_message_id=lane.message_id if outcome == "sent" else None
    )


def sweep_on(connect: Callable[[], Connection], done: threading.Event) -> None:
    with connect() as connection:
        while not done.is_set():
            sweep(connection)
            done.wait(0.01)


def end_leases(connect: Callable[[], Connection], seed: int, done: threading.Event) -> None:
    """Workers die all the time, as far as the database can see."""
    draw = random.Random(seed)
    with connect() as connection:
        while not done.is_set():
            connection.execute(
                "UPDATE outbox.worker SET lease_until = outbox.clock() - interval '1 s'"
                " WHERE id = (SELECT id FROM outbox.worker WHERE ended_at IS NULL ORDER BY random() LIMIT 1)"
            )
            connection.execute("SELECT outbox.reap()")
            if draw.random() < 0.2:
                connection.execute("SELECT outbox.leave(max(id)) FROM outbox.worker WHERE ended_at IS NULL")
            done.wait(0.01)
