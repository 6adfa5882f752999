"""Results go back to the database, in batches. While the database is away they are kept and tried again."""

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

# The first result goes at once, those that come within this share the next call: 50 calls a second at most.
FLUSH_EVERY_S: Final = 0.02
BATCH: Final = 500
REFUSALS_BEFORE_SINGLES: Final = 3  # then one bad result may not hold up the others


class Completion:
    """Nothing added is forgotten while this lives, except by a flush that the database confirmed."""

    def __init__(
        self, connections: Connections, *, flushed: Callable[[], None], emit: Emit, now: Callable[[], float] = now_s
    ) -> None:
        self._connections = connections
        self._flushed = flushed
        self._emit = emit
        self._now = now
        self._results: deque[Result] = deque()
        self._batch: list[Result] = []
        self._some = asyncio.Event()
        self._backoff = Backoff()
        self._flushing = asyncio.Lock()
        self._ending = False

    @property
    def waiting(self) -> int:
        """Results that the database does not know of yet."""
        return len(self._results) + len(self._batch)

    def add(self, result: Result) -> None:
        self._results.append(result)
        self._some.set()

    async def flush_for_ever(self) -> None:
        """Runs until flush_last is called."""
        while not self._ending:
            await self._some.wait()
            started_s = self._now()
            await self._flush_some()
            if (rest_s := started_s + FLUSH_EVERY_S - self._now()) > 0:
                await asyncio.sleep(rest_s)

    async def flush_last(self, within_s: float) -> int:
        """Flush all, trying for within_s seconds; return how many results are left."""
        self._ending = True
        self._some.set()
        try:
            async with asyncio.timeout(within_s):
                while self.waiting:
                    await self._flush_some()
        except TimeoutError:
            pass
        return self.waiting

    async def _flush_some(self) -> None:
        """One batch, or a wait after a failure. One at a time: a call that was cut off would have to be repeated."""
        async with self._flushing:
            await self._flush_batch()

    async def _flush_batch(self) -> None:
        while self._results and len(self._batch) < BATCH:
            self._batch.append(self._results.popleft())
        if not self._results:
            self._some.clear()
        self._batch.sort(key=lambda result: result.incarnation)
        singly = any(result.flushes_failed >= REFUSALS_BEFORE_SINGLES for result in self._batch)
        try:
            for part in _parts(self._batch, singly):
                await self._flush(part)
        except (DatabaseAwayError, AnswerLostError) as error:
            await self._wait_after(error)
        except psycopg.Error as error:
            for result in self._batch:
                result.flushes_failed += 1
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
    }
