"""Producers, workers and the reaper at once, in real time: what no script thought of, and every deadlock."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot, claim, complete, insert, register, result
from tests.invariants.checks import broken

SEED = 7
CHATS, MESSAGES, PRODUCERS, WORKERS = 9, 120, 2, 3
OUTCOMES = ("sent", "sent", "sent", "retry", "uncertain", "wait", "unsent")


def test_everything_is_sent_once_whoever_runs_beside_whom(db: Database) -> None:
    with db.connect() as judge:
        add_bot(
            judge, rate=None, chat_interval_s=0, backoff_initial_s=0.001, backoff_max_s=0.002, max_attempts=1_000_000
        )
        done = threading.Event()
        with ThreadPoolExecutor() as threads:
            producers = [threads.submit(produce, db.connect, SEED + i) for i in range(PRODUCERS)]
            others = [threads.submit(work, db.connect, SEED + i, done) for i in range(WORKERS)]
            others.append(threads.submit(end_leases, db.connect, SEED, done))
            try:
                for producer in producers:
                    producer.result()
                while waiting(judge) and not any(other.done() for other in others):
                    assert broken(judge) == [], f"seed {SEED}"
            finally:
                done.set()
            for other in others:
                other.result()
        sent = judge.execute(
            "SELECT count(*), count(DISTINCT id) FROM outbox.finished WHERE status = 'sent'"
        ).fetchone()
        assert sent == (PRODUCERS * MESSAGES, PRODUCERS * MESSAGES)
        assert judge.execute("SELECT outbox.repair()").fetchone() == (0,)
        assert broken(judge) == []


def waiting(judge: Connection) -> bool:
    return judge.execute("SELECT EXISTS (SELECT FROM outbox.message)").fetchone() == (True,)


def produce(connect: Callable[[], Connection], seed: int) -> None:
    draw = random.Random(seed)
    with connect() as connection:
        for _ in range(MESSAGES // 4):
            with connection.transaction():
                for _ in range(4):
                    insert(connection, draw.randint(1, CHATS), priority=draw.randint(0, 3))


def work(connect: Callable[[], Connection], seed: int, done: threading.Event) -> None:
    """Claim and complete in any order and batch until all is sent; some batches come twice."""
    draw = random.Random(seed)
    with connect() as connection:
        worker = register(connection)
        told = []
        while not done.is_set():
            try:
                lanes = claim(connection, worker, n=draw.randint(1, 5)).lanes
            except psycopg.Error as error:
                if error.sqlstate != "OB001":
                    raise
                worker = register(connection)
                continue
            again = draw.sample(told, min(len(told), draw.randint(0, 2)))
            batch = [result(lane, draw.choice(OUTCOMES), retry_after_s=0.001) for lane in lanes]
            told = (told + batch)[-6:]
            draw.shuffle(batch)
            complete(connection, worker, batch + again)


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
