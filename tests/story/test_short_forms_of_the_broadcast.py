"""`python -m bench insert` and `make load ONLY=broadcast,open-cancel` in seconds, without figures of speed."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from bench.load.broadcast import cancel_a_broadcast, follow_a_broadcast
from bench.load.cancel import TAGGED, stay_in_a_cancel
from bench.scenarios.insert import PATHS, Path, insert_together, lock_one_row, repeat_keys
from tests.conftest import Database


@pytest.mark.parametrize(("rows", "path"), [(50, path) for _, _, path, _ in PATHS], ids=[path[0] for path in PATHS])
def test_every_path_that_is_measured_inserts_what_it_says(db: Database, rows: int, path: Path) -> None:
    assert path(db.url, rows) > 0
    found = "SELECT count(DISTINCT chat_id), count(DISTINCT payload), (SELECT count(*) FROM outbox.wakeup)"
    assert db.execute(f"{found} FROM outbox.message") == [(rows, rows, rows)]


def test_sessions_that_insert_to_one_chat_never_wait_for_each_other(db: Database) -> None:
    waits, _ = insert_together(db.url, 30)

    assert waits.looks > 0
    assert waits.between_writers() == 0, (waits.seen, waits.told)
    assert db.execute("SELECT count(*) FROM outbox.message") == [(16 * 30,)]


def test_sessions_that_do_wait_for_each_other_are_seen(db: Database) -> None:
    waits = lock_one_row(db.url)

    assert waits.seen.total() > 0
    assert waits.told.total() > 0
    assert waits.between_writers() > 0


def test_a_key_stores_one_row_however_many_sessions_bring_it_at_once(db: Database) -> None:
    assert repeat_keys(db.url, 300, 90) == 90


async def test_a_broadcast_beside_critical_messages_is_cancelled_and_nothing_of_it_is_lost(db: Database) -> None:
    counts = (600, 100)
    seen = await cancel_a_broadcast(db.url, counts, 3, few_s=2)

    assert seen.refused == 0
    assert seen.missing == 0
    assert len(seen.quiet_ms) >= 4
    assert len(seen.beside_ms) >= 6
    for count, cancel in zip(counts, seen.cancels, strict=True):
        assert cancel.accepted == count
        assert cancel.sent + cancel.cancelled == count
        assert 0 < cancel.sent < count
        # The rest of the 600 would go on for 15 s and more.
        assert cancel.last_after_s < 3


async def test_the_progress_of_a_broadcast_is_what_has_ended_by_then(db: Database) -> None:
    told, _, stats = await follow_a_broadcast(db.url, 600, 100, limit=100, every_s=0.5, number_of_workers=1)

    assert sum(stats["rejected"].values()) == 0
    assert len(told) > 4
    assert told[-1].progress == 1
    with psycopg.connect(db.url) as connection:
        assert connection.execute("SELECT sent FROM outbox.broadcasts WHERE tag = 'sale'").fetchall() == [(600,)]
    for before, after in itertools.pairwise(told):
        # What had ended when the statement began: no more than what had when it was through, no less than half a
        # second before.
        assert before.true_progress - 1e-9 <= after.progress <= after.true_progress + 1e-9


async def test_an_application_that_stays_in_a_transaction_with_a_cancel_delays_nobody(db: Database) -> None:
    seen = await stay_in_a_cancel(db.url, 2, 3)

    assert seen.missing == 0
    assert seen.refused == 0
    assert len(seen.during_ms) >= 10
    # Whoever waited for it would wait until it commits, two seconds after the last of them.
    assert max(seen.during_ms + seen.same_chat_during_ms) < 2000
    assert seen.cancelled == TAGGED + 1
