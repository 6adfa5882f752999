"""Results on the disk: what comes back, what a crash may tear, what is left alone."""

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from outbox.deliver.events import SpoolFailed, SpoolFull, SpoolLeft, SpoolRead
from outbox.deliver.spool import SpoolFile
from tests.deliver.lives import KEY, Process, files, left_behind, result_of


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
