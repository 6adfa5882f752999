"""Results go back to the database, in batches. While it is away they are kept, in the spool too, and tried again."""

import asyncio
import contextlib
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
KEEP_AFTER_S: Final = 1.0  # a flush not over by then may hang: whoever stops us may not wait for its end
REFUSALS_BEFORE_SINGLES: Final = 3  # then one bad result may not hold up the others
# Then it waits by itself, longer each time: a try may cost a whole statement_timeout, in which nothing else is flushed.
ASIDE_S: Final = 15.0
LONGEST_ASIDE_S: Final = 300.0
# SQLSTATE classes in which no result is at fault: no resources, shutting down or too slow, the server's disk or a bug.
SERVERS_FAULT: Final = frozenset({"53", "57", "58", "XX"})
NO_RESOURCES: Final = "53"
# Serialization, deadlock, lock_timeout: the next try may well succeed.
TRANSIENT: Final = frozenset({"40001", "40P01", "55P03"})


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
        self._aside: dict[int, Result] = {}  # by identity: those that fail while the server takes others
        self._some = asyncio.Event()
        self._behind: set[int] = set()  # by identity: results of an outage, ours or an earlier process's
        self._caught_up = asyncio.Event()
        self._away = False
        self._late = False
        self._recalled = not self._spool.is_wanted
        self._backoff = Backoff()
        self._flushing = asyncio.Lock()
        self._ending = False

    @property
    def waiting(self) -> int:
        """Results that the database does not know of yet."""
        return len(self._results) + len(self._batch) + len(self._aside)

    @property
    def oldest_s(self) -> float:
        """Age of the oldest of them; 0 where there is none."""
        firsts = [*self._batch[:1]]
        with contextlib.suppress(IndexError):  # a scrape is another thread
            firsts.append(self._results[0])
        return max((self._now() - result.ended_s for result in firsts), default=0.0)

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
        elif self._late:
            self._spool.keep([result])

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
        """Spool all and flush it, trying for within_s seconds; return how many results are left."""
        self._ending = True
        self._some.set()
        # First: a supervisor may kill us before the database answers.
        self._spool.keep(self._known())
        try:
            async with asyncio.timeout(within_s):
                while self._batch or self._results:
                    await self._flush_some()
        except TimeoutError:
            pass
        self._spool.keep(self._known())
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
            late = asyncio.get_running_loop().call_later(KEEP_AFTER_S, self._keep_late)
            try:
                await self._flush_batch()
            finally:
                late.cancel()
                self._late = False

    async def _flush_batch(self) -> None:
        while self._results and len(self._batch) < BATCH:
            self._batch.append(self._results.popleft())
        if not self._results:
            self._some.clear()
        singly = any(result.flushes_failed >= REFUSALS_BEFORE_SINGLES for result in self._batch)
        if not singly:
            self._batch.sort(key=lambda result: result.incarnation)
        part: list[Result] = []
        count = len(self._batch)
        try:
            for part in _parts(self._batch, singly):
                await self._flush(part)
        except (DatabaseAwayError, AnswerLostError) as error:
            self._fall_behind()
            await self._wait_after(error)
        except psycopg.Error as error:
            for result in part:
                result.flushes_failed += 1
            await self._note_refused(part, error, alone=singly, others_taken=len(self._batch) < count)
            await self._wait_after(error)
        else:
            self._backoff.reset()

    async def _flush(self, results: list[Result]) -> None:
        started_s = self._now()
        applied = await self._complete(results[0].incarnation, [_told(result, started_s) for result in results])
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

    async def _complete(self, incarnation: int, results: list[dict[str, Any]]) -> int:
        [(applied,)] = await self._connections.call(
            "SELECT outbox.complete(%s::bigint, %s::jsonb)", (incarnation, json.dumps(results))
        )
        return int(applied)

    async def _note_refused(self, part: list[Result], error: psycopg.Error, *, alone: bool, others_taken: bool) -> None:
        """A result refused for good is told: claiming does not wait for it. In a batch it may be any of them."""
        state = error.sqlstate or ""
        again = alone and part[0].flushes_failed > REFUSALS_BEFORE_SINGLES
        if state[:2] not in SERVERS_FAULT:
            self._away = False
            if alone and (again or state not in TRANSIENT):
                self._note_told(part)
        elif again and (others_taken or await self._is_at_fault(part[0], state)):
            self._put_aside(self._batch.pop(0))
            return
        else:
            self._fall_behind()
        if alone:
            self._batch.append(self._batch.pop(0))

    async def _is_at_fault(self, result: Result, state: str) -> bool:
        """Whether the server, which took no other result just now, would take one."""
        if result.flushes_failed > REFUSALS_BEFORE_SINGLES + 1 and id(result) not in self._behind:
            return True  # as was found before
        if state.startswith(NO_RESOURCES):
            return False  # a full disk fails whatever writes, and not a call that has nothing to write
        try:
            await self._complete(result.incarnation, [])
        except (DatabaseAwayError, AnswerLostError, psycopg.Error):
            return False
        return True

    def _put_aside(self, result: Result) -> None:
        self._aside[id(result)] = result
        self._spool.keep([result])
        self._note_told([result])
        self._flushed()
        tries = result.flushes_failed - REFUSALS_BEFORE_SINGLES - 1
        delay_s = min(LONGEST_ASIDE_S, ASIDE_S * 2.0 ** min(tries, 30))
        asyncio.get_running_loop().call_later(delay_s, self._take_up, result)

    def _take_up(self, result: Result) -> None:
        self._results.append(self._aside.pop(id(result)))
        self._some.set()

    def _known(self) -> list[Result]:
        return [*self._batch, *self._results, *self._aside.values()]

    def _keep_late(self) -> None:
        self._late = True
        self._spool.keep(self._known())

    def _fall_behind(self) -> None:
        """The database is away: nobody but us knows of these."""
        self._away = True
        self._keep([*self._batch, *self._results])

    def _keep(self, results: list[Result]) -> None:
        self._behind.update(map(id, results))
        self._spool.keep(results)

    def _note_told(self, results: list[Result]) -> None:
        """The database is back, and these are no news to it."""
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
