"""Results on disk while the database is away: a process that dies meanwhile takes none of them with it.

A file holds JSON lines, a result each, and is locked by the process that writes it for as long as that lives; a later
start takes over what nobody holds. Names begin with the database's key: one folder may serve several databases, and a
result means nothing to another one. No line holds a payload or a bot token.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Self

from outbox.deliver.events import Emit, Spooled, SpoolFailed, SpoolFull, SpoolLeft, SpoolRead
from outbox.deliver.lane import Result
from outbox.deliver.pace import now_s

LIMIT_RESULTS: Final = 100_000
LIMIT_BYTES: Final = 64 << 20
WRITE_AGAIN_S: Final = 2.0  # after a write that failed: a full disk may be emptied
SUFFIX: Final = ".jsonl"

_OF_THIS_PROCESS: Final = frozenset({"ended_s", "flushes_failed"})  # a clock and a count that end with it
_FIELDS: Final = tuple(field.name for field in fields(Result) if field.name not in _OF_THIS_PROCESS)
_REQUIRED: Final = tuple(
    field.name
    for field in fields(Result)
    if field.name in _FIELDS and field.default is field.default_factory is MISSING
)
_NUMBERS: Final = frozenset({"incarnation", "message_id", "attempt"})


class SpoolFile:
    """One file, locked while this object is open."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = os.fstat(descriptor).st_size
        self.waiting = 0
        """How many results in it the database does not know of."""
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path, key: str) -> Self:
        """A new and empty one. Raises OSError."""
        while True:
            path = folder / f"{key}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            # A start that looks for files just now may have been faster than our lock, and removes an empty one.
            if _lock(path, descriptor):
                _sync_folder(folder)
                return cls(path, descriptor)
            os.close(descriptor)

    @classmethod
    def take_over(cls, path: Path) -> Self | None:
        """One that a process left behind; None when somebody holds it or had it just now. Raises OSError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if _lock(path, descriptor):
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    def append(self, lines: bytes) -> None:
        """All or nothing, and on the disk when it returns. Raises OSError."""
        try:
            _write(self._descriptor, lines, self.size)
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(lines)

    def read(self) -> bytes:
        """All of it. Raises OSError."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def empty(self) -> None:
        """Forget what is in it. Raises OSError."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0

    def remove(self) -> None:
        """The last call. Raises OSError."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Leave it to the next start."""
        os.close(self._descriptor)


class Spool:
    """The files of one worker. Without a folder, or with one that cannot be used, results are in memory only."""

    def __init__(
        self,
        folder: Path | None,
        *,
        emit: Emit,
        limit_results: int = LIMIT_RESULTS,
        limit_bytes: int = LIMIT_BYTES,
        now: Callable[[], float] = now_s,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._emit = emit
        self._limit_results = limit_results
        self._limit_bytes = limit_bytes
        self._now = now
        self._wall = wall
        self._key: str | None = None
        self._own: SpoolFile | None = None
        self._taken: list[SpoolFile] = []
        self._unwritten: dict[int, Result] = {}  # by identity: results are not hashable
        self._written: dict[int, tuple[Result, SpoolFile]] = {}
        self._untaken: list[Path] = []
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        self._closing = False
        self.is_full = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is a folder to use."""
        return self._folder is not None

    @property
    def results(self) -> int:
        """How many results are safe on the disk."""
        return len(self._written)

    async def open(self, key: str) -> None:
        """Use the folder for the database of that key, and look what earlier processes left there."""
        if self._folder is None:
            return
        try:
            mine, others = await asyncio.to_thread(_look, self._folder, key)
        except OSError as error:
            self._emit(SpoolFailed(str(self._folder), _words(error)))
            return
        self._key = key
        self._untaken = mine
        if others:
            self._emit(SpoolLeft(str(self._folder), others))

    async def take_over(self) -> list[Result] | None:
        """The results of one file that nobody holds, which goes when they are forgotten. None: there are no more."""
        while self._untaken and not self._closing:
            path = self._untaken.pop(0)
            try:
                file = await asyncio.to_thread(SpoolFile.take_over, path)
                if file is None:
                    continue
                content = await asyncio.to_thread(file.read)
            except OSError as error:
                self._emit(SpoolFailed(str(path), _words(error)))
                continue
            results, skipped = await asyncio.to_thread(_decode, content, self._now(), self._wall())
            self._taken.append(file)
            file.waiting = len(results)
            self._written |= {id(result): (result, file) for result in results}
            if content:
                self._emit(SpoolRead(len(results), skipped))
            if results:
                return results
            self._work.set()
        return None

    def keep(self, results: Iterable[Result]) -> None:
        """Write these soon; those that are written already stay as they are."""
        if self._key is None:
            return
        for result in results:
            if id(result) not in self._written:
                self._unwritten[id(result)] = result
        if self._unwritten:
            self._work.set()

    def forget(self, results: Iterable[Result]) -> None:
        """The database knows of them."""
        for result in results:
            self._unwritten.pop(id(result), None)
            if (written := self._written.pop(id(result), None)) is not None:
                _, file = written
                file.waiting -= 1
                if not file.waiting:
                    self._work.set()
        # One that stays, because the database refuses it, must not keep the spool full.
        if self.is_full and not self._unwritten:
            self._work.set()

    async def write_for_ever(self) -> None:
        """Runs until close()."""
        while not self._closing:
            await self._work.wait()
            self._work.clear()
            if not await self._write() and not self._closing:
                await asyncio.sleep(WRITE_AGAIN_S)
                self._work.set()

    async def close(self) -> None:
        """Write what is kept, remove what is empty, leave the rest to the next start."""
        self._closing = True
        self._work.set()
        await self._write()
        for file in [self._own, *self._taken]:
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close() if file.waiting else file.remove()
        self._own = None
        self._taken = []

    async def _write(self) -> bool:
        """What is done away, then one batch on the disk. False: it did not work."""
        async with self._writing:  # not one write into another
            try:
                await self._clean_up()
                await self._append()
            except OSError as error:
                self._emit(SpoolFailed(str(self._folder), _words(error)))
                return False
        return True

    async def _append(self) -> None:
        if not self._unwritten:
            self.is_full = False
            return
        assert self._folder is not None
        assert self._key is not None
        results = list(self._unwritten.values())[: max(0, self._limit_results - self.results)]
        lines = await asyncio.to_thread(_encode, results, self._now(), self._wall())
        size = 0 if self._own is None else self._own.size
        fitting = bisect_right(list(accumulate(map(len, lines))), self._limit_bytes - size)
        if not fitting:
            if not self.is_full:
                self.is_full = True
                self._emit(SpoolFull(self.results, size))
            return
        if self._own is None:
            self._own = await asyncio.to_thread(SpoolFile.create, self._folder, self._key)
        results = results[:fitting]
        await asyncio.to_thread(self._own.append, b"".join(lines[:fitting]))
        for result in results:
            # Otherwise it was forgotten while the line was written; a line too many changes nothing.
            if self._unwritten.pop(id(result), None) is not None:
                self._written[id(result)] = (result, self._own)
                self._own.waiting += 1
        self._emit(Spooled(len(results), self._own.size))
        if self._unwritten:
            self._work.set()
        else:
            self.is_full = False

    async def _clean_up(self) -> None:
        for file in [file for file in self._taken if not file.waiting]:
            self._taken.remove(file)
            await asyncio.to_thread(file.remove)
        if self._own is not None and self._own.size and not self._own.waiting:
            await asyncio.to_thread(self._own.empty)


def _encode(results: Iterable[Result], now: float, wall: float) -> list[bytes]:
    lines = []
    for result in results:
        line = {name: value for name in _FIELDS if (value := getattr(result, name)) is not None}
        lines.append(f"{json.dumps(line | {'ended_at': wall - max(0.0, now - result.ended_s)})}\n".encode())
    return lines


def _decode(content: bytes, now: float, wall: float) -> tuple[list[Result], int]:
    """The results, and how many lines are none: the last one of a process that died while it wrote."""
    lines = content.splitlines()
    results = [result for line in lines if (result := _result(line, now, wall)) is not None]
    return results, len(lines) - len(results)


def _result(line: bytes, now: float, wall: float) -> Result | None:
    with contextlib.suppress(ValueError, TypeError):
        told: dict[str, Any] = json.loads(line)
        if isinstance(told, dict) and all(
            isinstance(told.get(name), int if name in _NUMBERS else str) for name in _REQUIRED
        ):
            # The wall clock may have been turned back since; fields of a newer version mean nothing here.
            ended_s = now - max(0.0, wall - float(told["ended_at"]) if "ended_at" in told else 0.0)
            return Result(**{name: told[name] for name in _FIELDS if name in told}, ended_s=ended_s)
    return None


def _look(folder: Path, key: str) -> tuple[list[Path], int]:
    """Make the folder; the files of this database, the oldest first, and how many are left of others."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(0, "the folder belongs to another user")
    folder.chmod(0o700)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(0, "the folder cannot be written to")
    mine: list[tuple[float, Path]] = []
    others = 0
    for path in folder.glob(f"*{SUFFIX}"):
        if path.name.startswith(f"{key}-"):
            with contextlib.suppress(FileNotFoundError):
                mine.append((path.stat().st_mtime, path))
        elif _is_left(path):
            others += 1
    return [path for _, path in sorted(mine)], others


def _is_left(path: Path) -> bool:
    with contextlib.suppress(OSError):
        if (file := SpoolFile.take_over(path)) is not None:
            file.close()
            return True
    return False


def _lock(path: Path, descriptor: int) -> bool:
    """Whether the file is now ours and still under its name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _write(descriptor: int, content: bytes, at: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        at += written
        rest = rest[written:]


def _sync_folder(folder: Path) -> None:
    """A file's name survives a power cut only when its folder is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__
