"""Results go back to the database, in batches. While it is away they are kept, in the spool too, and tried again."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Final

import psycopg

from outbox.deliver.connections import AnswerLostError, Backoff, Connections, DatabaseAwayError, describe
from outbox.deliver.events import DatabaseFailed, Emit, Flushed
from outbox.deliver.lane import Result
from outbox.deliver.pace import now_s
from outbox.deliver.spool import LIMIT_RESULTS, Spool

# The first result goes at once, those that come within this share the next call: 50 calls a second at most.
FLUSH_EVERY_S: Final = 0.02
BATCH: Final = 500
REFUSALS_BEFORE_SINGLES: Final = 3  # then one bad result may not hold up the others
# SQLSTATE classes in which no result is at fault: no resources, shutting down or too slow, the server's disk or a bug.
SERVERS_FAULT: Final = frozenset({"53", "57", "58", "XX"})


class Completion:
    """Nothing added is forgotten while this lives, except by a flush that the database confirmed."""

    def __init__(
        self,
        connections: Connections,
        *,
        flushed: Callable[[], None],
        emit: Emit,
        now: Callable[[], float] = now_s,
        spool: Spool | None = None,
    ) -> None:
        """`flushed` is called after each flush, and when may_claim may have become true."""
        self._connections = connections
        self._spool = spool or Spool(None, emit=emit)
        self._flushed = flushed
        self._emit = emit
        self._now = now
        self._results: deque[Result] = deque()
        self._batch: list[Result] = []
        self._some = asyncio.Event()
        self._behind: set[int] = set()  # by identity: results of an outage, ours or an earlier process's
        self._caught_up = asyncio.Event()
        self._away = False
        self._recalled = not self._spool.is_wanted
        self._backoff = Backoff()
        self._flushing = asyncio.Lock()
        self._ending = False

    @property
    def waiting(self) -> int:
        """Results that the database does not know of yet."""
        return len(self._results) + len(self._batch)

    @property
    def spooled(self) -> int:
        """How many of them are on the disk."""
        return self._spool.results

    @property
    def may_reap(self) -> bool:
        """Whether the database was told all that it missed. Before, what we know was sent would be sent again."""
        return self._recalled and not self._behind

    @property
    def may_claim(self) -> bool:
        """may_reap, and room for more results."""
        return self.may_reap and not self._spool.is_full and self.waiting < LIMIT_RESULTS

    def add(self, result: Result) -> None:
        self._results.append(result)
        self._some.set()
        if self._away:
            self._keep([result])

    async def flush_for_ever(self) -> None:
        """Runs until flush_last is called."""
        while not self._ending:
            await self._some.wait()
            started_s = self._now()
            await self._flush_some()
            if (rest_s := started_s + FLUSH_EVERY_S - self._now()) > 0:
                await asyncio.sleep(rest_s)

    async def spool_for_ever(self) -> None:
        """Bring what earlier processes left, and write what the database does not take. Runs until flush_last."""
        await asyncio.gather(self._recall(), self._spool.write_for_ever())

    async def flush_last(self, within_s: float) -> int:
        """Flush all, trying for within_s seconds, and spool the rest; return how many results are left."""
        self._ending = True
        self._some.set()
        try:
            async with asyncio.timeout(within_s):
                while self.waiting:
                    await self._flush_some()
        except TimeoutError:
            pass
        self._spool.keep([*self._batch, *self._results])
        await self._spool.close()
        return self.waiting

    async def _recall(self) -> None:
        """A file after the other: they may be larger than what fits into the memory at once."""
        if self._recalled:
            return
        await self._spool.open(await self._database_key())
        while (results := await self._spool.take_over()) is not None:
            self._behind.update(map(id, results))
            self._results.extend(results)
            self._some.set()
            self._caught_up.clear()
            await self._caught_up.wait()
        self._recalled = True
        self._flushed()

    async def _database_key(self) -> str:
        backoff = Backoff()
        while True:
            try:
                [(key,)] = await self._connections.call("SELECT outbox.database_key()")
            except (DatabaseAwayError, AnswerLostError, psycopg.Error) as error:
                delay_s = backoff.next_s()
                self._emit(DatabaseFailed("spool", describe(error), delay_s))
                await asyncio.sleep(delay_s)
            else:
                return str(key)

    async def _flush_some(self) -> None:
        """One batch, or a wait after a failure. One at a time: a call that was cut off would have to be repeated."""
        async with self._flushing:
            await self._flush_batch()

    async def _flush_batch(self) -> None:
        while self._results and len(self._batch) < BATCH:
            self._batch.append(self._results.popleft())
        if not self._results:
            self._some.clear()
        singly = any(result.flushes_failed >= REFUSALS_BEFORE_SINGLES for result in self._batch)
        if not singly:
            self._batch.sort(key=lambda result: result.incarnation)
        part: list[Result] = []
        try:
            for part in _parts(self._batch, singly):
                await self._flush(part)
        except (DatabaseAwayError, AnswerLostError) as error:
            self._fall_behind()
            await self._wait_after(error)
        except psycopg.Error as error:
            for result in part:
                result.flushes_failed += 1
            if (error.sqlstate or "")[:2] in SERVERS_FAULT:
                self._fall_behind()
            else:
                self._note_told(part)
            if singly:
                self._batch.append(self._batch.pop(0))
            await self._wait_after(error)
        else:
            self._backoff.reset()

    async def _flush(self, results: list[Result]) -> None:
        started_s = self._now()
        [(applied,)] = await self._connections.call(
            "SELECT outbox.complete(%s::bigint, %s::jsonb)",
            (results[0].incarnation, json.dumps([_told(result, started_s) for result in results])),
        )
        done = {id(result) for result in results}
        self._note_told(results)
        self._spool.forget(results)
        self._batch = [result for result in self._batch if id(result) not in done]
        now = self._now()
        self._emit(
            Flushed(
                duration_s=now - started_s,
                results=len(results),
                applied=applied,
                oldest_s=now - min(result.ended_s for result in results),
            )
        )
        self._flushed()

    def _fall_behind(self) -> None:
        """The database is away: nobody but us knows of these."""
        self._away = True
        self._keep([*self._batch, *self._results])

    def _keep(self, results: list[Result]) -> None:
        self._behind.update(map(id, results))
        self._spool.keep(results)

    def _note_told(self, results: list[Result]) -> None:
        """The database is back. What it refuses is news to nobody either: claiming does not wait for that."""
        self._away = False
        self._behind.difference_update(map(id, results))
        if not self._behind:
            self._caught_up.set()

    async def _wait_after(self, error: Exception) -> None:
        self._some.set()
        delay_s = self._backoff.next_s()
        self._emit(DatabaseFailed("complete", describe(error), delay_s))
        await asyncio.sleep(delay_s)


def _parts(batch: list[Result], singly: bool) -> Iterable[list[Result]]:
    """The calls to make: one per incarnation, or one per result."""
    if singly:
        return [[result] for result in batch]
    return [list(group) for _, group in groupby(batch, key=lambda result: result.incarnation)]


def _told(result: Result, now: float) -> dict[str, Any]:
    return {
        "bot": result.bot,
        "chat_id": result.chat_id,
        "message_id": result.message_id,
        "attempt": result.attempt,
        "outcome": result.outcome,
        "age_s": max(0.0, now - result.ended_s),
        "duration_s": result.duration_s,
        "http_status": result.http_status,
        "error_code": result.error_code,
        "error_class": result.error_class,
        "error_text": result.error_text,
        "retry_after_s": result.retry_after_s,
        "telegram_message_id": result.telegram_message_id,
        "meaning": result.meaning,
        "reach": result.reach,
        "migrate_to": result.migrate_to,
        "telegram_answer": result.telegram_answer,
        "correlation_id": result.correlation_id,
    }
