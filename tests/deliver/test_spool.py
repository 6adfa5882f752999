"""Results on the disk: what comes back, what a crash may tear, what is left alone."""

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from outbox.deliver.complete import Completion
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError
from outbox.deliver.events import DatabaseFailed, Event, Spooled, SpoolFailed, SpoolFull, SpoolLeft, SpoolRead
from outbox.deliver.lane import Result
from outbox.deliver.pace import now_s
from outbox.deliver.spool import Spool, SpoolFile

KEY = "7412345678901234567-16384"


class Process:
    """One life of a worker, as far as the spool knows."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.events: list[Event] = []
        self.spool = Spool(folder, emit=self.events.append, **options)
        self._writing: asyncio.Task[None] | None = None

    async def start(self, key: str = KEY) -> list[Result]:
        """Open, and return what earlier lives left."""
        await self.spool.open(key)
        self._writing = asyncio.create_task(self.spool.write_for_ever())
        found: list[Result] = []
        while (results := await self.spool.take_over()) is not None:
            found.extend(results)
        return found

    async def keep(self, results: list[Result]) -> None:
        self.spool.keep(results)
        await self.until(lambda: self.spool.results >= len(results))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        await self.spool.close()
        assert self._writing is not None
        await asyncio.wait_for(self._writing, 5)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def result_of(message_id: int, **more: Any) -> Result:
    return Result(
        **(
            {
                "incarnation": 3,
                "bot": "default",
                "chat_id": "42",
                "message_id": message_id,
                "attempt": 1,
                "outcome": "sent",
                "ended_s": now_s(),
                "telegram_message_id": 900 + message_id,
            }
            | more
        )
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


async def left_behind(folder: Path, results: list[Result], **options: Any) -> Path:
    """The file of a life that ended with these unknown to the database."""
    process = Process(folder, **options)
    await process.start()
    await process.keep(results)
    await process.stop()
    [path] = files(folder)
    return path


async def test_the_next_start_finds_every_result_as_it_was(tmp_path):
    folder = tmp_path / "data" / "spool"
    before = [
        result_of(1, duration_s=0.25, http_status=200),
        result_of(
            2,
            outcome="wait",
            error_code=429,
            error_text="Too Many Requests: é\n\u2028",
            retry_after_s=3.0,
            telegram_message_id=None,
        ),
    ]
    await left_behind(folder, before)
    after = Process(folder)
    found = await after.start()
    assert after.of(SpoolRead) == [SpoolRead(2, 0)]
    for one, other in zip(before, found, strict=True):
        assert other.ended_s == pytest.approx(one.ended_s, abs=1.0)
        other.ended_s = one.ended_s
    assert found == before
    after.spool.forget(found)
    await after.stop()
    assert files(folder) == []


@pytest.mark.parametrize(("wall_passes_s", "age_s"), [(3600.0, 3605.0), (0.0, 5.0), (-7200.0, 0.0)])
async def test_an_age_counts_the_time_between_two_lives_and_is_never_negative(tmp_path, wall_passes_s, age_s):
    await left_behind(tmp_path, [result_of(1, ended_s=95.0)], now=lambda: 100.0, wall=lambda: 1e9)
    # Another boot: the clock that only runs forward began anew.
    after = Process(tmp_path, now=lambda: 7.0, wall=lambda: 1e9 + wall_passes_s)
    [found] = await after.start()
    assert 7.0 - found.ended_s == pytest.approx(age_s)
    await after.stop()


async def test_wherever_a_write_was_torn_the_whole_lines_before_it_come_back(tmp_path):
    path = await left_behind(tmp_path, [result_of(number) for number in range(3)])
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in [*range(ends[0] - 2, ends[1] + 3), *range(ends[1] + 3, len(content), 17)]:
        path.write_bytes(content[:cut])
        after = Process(tmp_path)
        found = await after.start()
        # A line is whole without its end, too.
        whole = sum(end - 1 <= cut for end in ends)
        assert [one.message_id for one in found] == list(range(whole)), f"cut at {cut}"
        assert after.of(SpoolRead) == [SpoolRead(whole, 0 if cut in {0, *ends, *(end - 1 for end in ends)} else 1)]
        await after.stop()
        if not path.exists():
            path.touch()


@pytest.mark.parametrize(
    "line",
    ["[]", "null", "7", '"x"', "{}", '{"message_id": 1}', '{"ended_at": "x"}', "\x00\x00", '{"ended_at":1e999}', "nan"],
)
async def test_a_line_that_is_no_result_is_counted_and_costs_only_itself(tmp_path, line):
    path = await left_behind(tmp_path, [result_of(1)])
    path.write_text(f"{line}\n{path.read_text()}")
    after = Process(tmp_path)
    [found] = await after.start()
    assert found.message_id == 1
    assert after.of(SpoolRead) == [SpoolRead(1, 1)]
    await after.stop()


async def test_what_a_newer_version_wrote_is_read_without_what_only_it_knows(tmp_path):
    path = await left_behind(tmp_path, [result_of(1)])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"brand_new": [1]}) + "\n")
    [found] = await Process(tmp_path).start()
    assert found.telegram_message_id == 901


async def test_a_file_that_somebody_holds_is_left_to_him(tmp_path):
    living = Process(tmp_path)
    await living.start()
    await living.keep([result_of(1)])
    other = Process(tmp_path)
    assert await other.start() == []
    await living.stop()
    third, fourth = Process(tmp_path), Process(tmp_path)
    found = await asyncio.gather(third.start(), fourth.start())
    assert sorted(map(len, found)) == [0, 1], "one of two starts gets it"


async def test_the_results_of_another_database_are_left_and_counted(tmp_path):
    path = await left_behind(tmp_path, [result_of(1)])
    other = Process(tmp_path)
    assert await other.start(f"{KEY}9") == []
    assert other.of(SpoolLeft) == [SpoolLeft(str(tmp_path), 1)]
    await other.stop()
    assert path.exists()


async def test_only_its_user_may_read_it(tmp_path):
    folder = tmp_path / "spool"
    path = await left_behind(folder, [result_of(1)])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_folder_that_cannot_be_made_is_said_once_and_results_stay_in_memory(tmp_path):
    (tmp_path / "file").touch()
    process = Process(tmp_path / "file" / "spool")
    assert await process.start() == []
    process.spool.keep([result_of(1)])
    process.spool.keep([result_of(2)])
    await process.stop()
    assert [type(event) for event in process.events] == [SpoolFailed]
    assert process.spool.results == 0


async def test_a_disk_that_is_full_for_a_while_tears_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("outbox.deliver.spool.WRITE_AGAIN_S", 0.01)
    process = Process(tmp_path)
    await process.start()
    await process.keep([result_of(1)])
    [path] = files(tmp_path)
    before = path.read_bytes()
    pwrite = os.pwrite

    def fail_halfway(descriptor: int, content: Any, at: int) -> int:
        pwrite(descriptor, bytes(content)[:20], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail_halfway)
    process.spool.keep([result_of(2)])
    await process.until(lambda: process.of(SpoolFailed))
    assert path.read_bytes() == before
    monkeypatch.undo()
    await process.until(lambda: process.spool.results == 2)
    await process.stop()
    assert [one.message_id for one in await Process(tmp_path).start()] == [1, 2]


@pytest.mark.parametrize("limit", [{"limit_results": 3}, {"limit_bytes": 600}])
async def test_a_full_spool_says_so_once_and_takes_more_when_the_database_took_all(tmp_path, limit):
    process = Process(tmp_path, **limit)
    await process.start()
    first = [result_of(number) for number in range(3)]
    await process.keep(first)
    more = [result_of(number) for number in range(3, 6)]
    process.spool.keep(more[:1])
    await process.until(lambda: process.spool.is_full)
    process.spool.keep(more)
    await asyncio.sleep(0.05)
    assert len(process.of(SpoolFull)) == 1
    assert process.of(SpoolFull)[0].results == process.spool.results == 3
    process.spool.forget(first)
    await process.until(lambda: not process.spool.is_full)
    assert process.spool.results == 3
    await process.stop()
    assert [one.message_id for one in await Process(tmp_path).start()] == [3, 4, 5]


async def test_of_a_batch_too_large_for_the_spool_what_fits_is_written(tmp_path):
    process = Process(tmp_path, limit_bytes=600)
    await process.start()
    process.spool.keep([result_of(number) for number in range(6)])
    await process.until(lambda: process.spool.is_full)
    assert process.spool.results == 3
    await process.stop()
    assert [one.message_id for one in await Process(tmp_path).start()] == [0, 1, 2]


async def test_a_result_that_stays_does_not_keep_the_spool_full(tmp_path):
    process = Process(tmp_path, limit_bytes=600)
    await process.start()
    results = [result_of(number) for number in range(6)]
    process.spool.keep(results)
    await process.until(lambda: process.spool.is_full)
    process.spool.forget(results[1:])
    await process.until(lambda: not process.spool.is_full)
    await process.stop()
    assert 0 in [one.message_id for one in await Process(tmp_path).start()]


async def test_a_file_removed_between_its_making_and_its_lock_is_made_again(tmp_path, monkeypatch):
    tries: list[Path] = []
    lock = __import__("outbox.deliver.spool", fromlist=["_lock"])._lock

    def lock_late(path: Path, descriptor: int) -> bool:
        if not tries:
            path.unlink()
        tries.append(path)
        return bool(lock(path, descriptor))

    monkeypatch.setattr("outbox.deliver.spool._lock", lock_late)
    file = SpoolFile.create(tmp_path, KEY)
    assert files(tmp_path) == [file.path] == tries[1:]
    file.close()


# --- with complete ----------------------------------------------------------------------------------------------------


class Database:
    """Complete's side of it: away until it is told to be back."""

    def __init__(self) -> None:
        self.fault: Exception | None = DatabaseAwayError("no connection")
        self.refused: dict[int, Exception] = {}  # by message: what a call with it fails with
        self.hangs = False
        self.applied: list[int] = []

    async def call(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        await asyncio.sleep(0)
        if "database_key" in query:
            return [(KEY,)]
        if self.fault is not None:
            raise self.fault
        while self.hangs:
            await asyncio.sleep(0.005)
        told = json.loads(parameters[1])
        for one in told:
            if (refusal := self.refused.get(one["message_id"])) is not None:
                raise refusal
        self.applied += [one["message_id"] for one in told]
        return [(len(told),)]


class Life:
    """A Completion with its two loops."""

    def __init__(self, folder: Path | None, database: Database) -> None:
        self.events: list[Event] = []
        self.completion = Completion(
            cast("Connections", database),
            flushed=lambda: None,
            emit=self.events.append,
            spool=Spool(folder, emit=self.events.append),
        )
        self._loops = [
            asyncio.create_task(self.completion.flush_for_ever()),
            asyncio.create_task(self.completion.spool_for_ever()),
        ]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def end(self, within_s: float = 3.0) -> int:
        left = await self.completion.flush_last(within_s)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        return left


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


# --- results that the server refuses, and a server that hangs ---------------------------------------------------------


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
