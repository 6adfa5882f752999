"""Complete and its spool: what is kept while the database is away, refuses or hangs, and brought when it is back."""

import asyncio

import psycopg
import pytest

from outbox.deliver.connections import AnswerLostError, DatabaseAwayError
from outbox.deliver.events import DatabaseFailed, Spooled, SpoolFailed, SpoolRead
from tests.deliver.lives import Database, Life, Process, files, left_behind, result_of


@pytest.mark.parametrize("fault", [DatabaseAwayError("no connection"), AnswerLostError("broken")])
async def test_while_the_database_is_away_results_are_spooled_and_nothing_is_claimed_or_reaped(tmp_path, fault):
    database = Database()
    database.fault = fault
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_claim)
    life.completion.add(result_of(1))
    await life.until(lambda: life.completion.spooled == 1)
    assert not life.completion.may_reap
    life.completion.add(result_of(2))
    await life.until(lambda: life.completion.spooled == 2)
    assert len(files(tmp_path)) == 1
    database.fault = None
    await life.until(lambda: life.completion.may_claim)
    assert sorted(database.applied) == [1, 2]
    await life.until(lambda: files(tmp_path)[0].stat().st_size == 0)
    assert await life.end() == 0
    assert files(tmp_path) == []


async def test_results_of_an_earlier_process_are_brought_before_anything_is_claimed(tmp_path):
    database = Database()
    first = Life(tmp_path, database)
    first.completion.add(result_of(1))
    assert await first.end(within_s=0.3) == 1
    assert first.completion.spooled == 1
    second = Life(tmp_path, database)
    await second.until(lambda: [event for event in second.events if isinstance(event, SpoolRead)])
    assert not second.completion.may_claim
    database.fault = None
    await second.until(lambda: second.completion.may_claim)
    assert database.applied == [1]
    assert await second.end() == 0
    assert files(tmp_path) == []


async def test_a_process_that_dies_again_before_it_could_bring_them_loses_none(tmp_path):
    database = Database()
    for number in range(3):
        life = Life(tmp_path, database)
        # One file at a time: the others wait on the disk.
        taken = min(number, 1)
        await life.until(lambda life=life, taken=taken: life.completion.waiting == taken)
        life.completion.add(result_of(number))
        assert await life.end(within_s=0.3) == taken + 1
        assert life.completion.spooled == taken + 1
        assert len(files(tmp_path)) == number + 1
    database.fault = None
    last = Life(tmp_path, database)
    await last.until(lambda: last.completion.may_claim)
    assert sorted(database.applied) == [0, 1, 2]
    assert await last.end() == 0
    assert files(tmp_path) == []


async def test_without_a_folder_nothing_is_written_and_nothing_forgotten():
    database = Database()
    life = Life(None, database)
    life.completion.add(result_of(1))
    await life.until(lambda: not life.completion.may_claim)
    database.fault = None
    assert await life.end() == 0
    assert database.applied == [1]
    assert not [event for event in life.events if isinstance(event, Spooled | SpoolFailed)]


@pytest.mark.parametrize(
    "refusal",
    [
        psycopg.errors.QueryCanceled("statement timeout"),
        psycopg.errors.OutOfMemory("out of memory"),
        psycopg.errors.IoError("could not read block 7"),
        psycopg.errors.DataCorrupted("invalid page"),
    ],
)
async def test_a_result_that_always_fails_on_the_server_ends_on_the_disk_and_claiming_goes_on(tmp_path, refusal):
    database = Database()
    database.fault = None
    database.refused[2] = refusal
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_claim)
    for number in (1, 2, 3):
        life.completion.add(result_of(number))
    await life.until(lambda: sorted(database.applied) == [1, 3])
    await life.until(lambda: life.completion.may_claim)
    assert life.completion.waiting == life.completion.spooled == 1
    life.completion.add(result_of(4))
    await life.until(lambda: 4 in database.applied)
    assert life.completion.may_claim
    assert await life.end() == 1
    assert 2 in [one.message_id for one in await Process(tmp_path).start()]


async def test_a_result_put_aside_is_tried_again_and_then_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("outbox.deliver.complete.ASIDE_S", 0.01)
    database = Database()
    database.fault = None
    # No resources, and no other result at hand when it fails again: it was found to be at fault before.
    database.refused[2] = psycopg.errors.OutOfMemory("out of memory")
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_claim)
    results = [result_of(number) for number in (1, 2)]
    for result in results:
        life.completion.add(result)
    await life.until(lambda: results[1].flushes_failed >= 6)
    await life.until(lambda: life.completion.may_claim)
    database.refused.clear()
    await life.until(lambda: sorted(database.applied) == [1, 2])
    assert await life.end() == 0
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("refusal", "goes_on"),
    [
        (psycopg.errors.QueryCanceled("statement timeout"), True),
        (psycopg.errors.DiskFull("no space left on device"), False),
    ],
)
async def test_a_result_that_fails_alone_is_told_from_a_full_disk(tmp_path, refusal, goes_on):
    database = Database()
    database.fault = None
    database.refused[1] = refusal
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_claim)
    result = result_of(1)
    life.completion.add(result)
    await life.until(lambda: result.flushes_failed == (4 if goes_on else 5))
    await life.until(lambda: life.completion.spooled)
    assert life.completion.may_claim is life.completion.may_reap is goes_on
    assert await life.end(within_s=0.1) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        psycopg.errors.LockNotAvailable("lock timeout"),
        psycopg.errors.DeadlockDetected("deadlock detected"),
        psycopg.errors.SerializationFailure("could not serialize access"),
    ],
)
async def test_what_a_lock_kept_out_while_a_spool_was_brought_is_brought_before_anything_is_reaped(tmp_path, refusal):
    await left_behind(tmp_path, [result_of(1), result_of(2)])
    database = Database()
    database.fault = None
    database.refused[1] = refusal
    life = Life(tmp_path, database)
    await life.until(lambda: [event for event in life.events if isinstance(event, DatabaseFailed)])
    assert not life.completion.may_reap
    database.refused.clear()
    await life.until(lambda: life.completion.may_reap)
    assert sorted(database.applied) == [1, 2]
    assert await life.end() == 0


async def test_of_a_spool_with_one_refused_result_the_others_are_brought_before_anything_is_reaped(tmp_path):
    await left_behind(tmp_path, [result_of(number) for number in (1, 2, 3)])
    database = Database()
    database.fault = None
    database.refused[1] = psycopg.errors.NumericValueOutOfRange("out of range")
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_reap)
    assert sorted(database.applied) == [2, 3]
    assert await life.end(within_s=0.1) == 1


async def test_what_a_hanging_flush_does_not_confirm_is_soon_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("outbox.deliver.complete.KEEP_AFTER_S", 0.05)
    database = Database()
    database.fault = None
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_claim)
    database.hangs = True
    life.completion.add(result_of(1))
    await life.until(lambda: life.completion.spooled == 1)
    life.completion.add(result_of(2))
    await life.until(lambda: life.completion.spooled == 2)
    assert life.completion.may_claim, "slow is not away"
    database.hangs = False
    await life.until(lambda: not life.completion.waiting)
    assert await life.end() == 0
    assert files(tmp_path) == []


async def test_a_stop_first_writes_what_is_known_then_asks_the_database(tmp_path):
    database = Database()
    database.fault = None
    life = Life(tmp_path, database)
    await life.until(lambda: life.completion.may_claim)
    database.hangs = True
    life.completion.add(result_of(1))
    ending = asyncio.create_task(life.end(within_s=30.0))
    async with asyncio.timeout(0.8):  # before a hanging flush is found to be late
        while not life.completion.spooled:
            await asyncio.sleep(0.005)
    assert not ending.done()
    database.hangs = False
    assert await ending == 0
    assert files(tmp_path) == []
