"""The worker: starts the steps, drains on a signal, nothing else."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from pydantic import SecretStr

from outbox.deliver.bots import Bots
from outbox.deliver.claim import Claims
from outbox.deliver.complete import Completion
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError
from outbox.deliver.events import Emit, Started, Stopped, ignore, shielded
from outbox.deliver.flight import Flight
from outbox.deliver.heartbeat import Lease
from outbox.deliver.identity import ForeignDatabaseError, Identity
from outbox.deliver.listen import Bell
from outbox.deliver.pace import Clock
from outbox.deliver.send import Sender, Timeouts
from outbox.deliver.spool import Spool
from outbox.deliver.tokens import TokensFile
from outbox.deliver.wake import BUSY_POLL_S, Alarm, Mood

GRACE_S: Final = 10.0
CONCURRENCY: Final = 250  # 30 messages a second that Telegram holds 8 s each are 240 in flight
IDENTITY_CHECK_S: Final = 2.0  # then the lease, which is not taken before, asks again
TOKEN_CHECK_S: Final = 2.0  # then the first claim does not wait longer for getMe


class Worker:
    """Delivers for the bots it has tokens for, until stopped. Lives inside any event loop; runs once."""

    def __init__(
        self,
        database_url: str,
        tokens: Mapping[str, SecretStr],
        api_url: str,
        *,
        name: str,
        bots: Sequence[str] | None = None,
        environment: str = "default",
        tokens_file: TokensFile | None = None,
        only_chats: Collection[str] | None = None,
        emit: Emit = ignore,
        grace_s: float = GRACE_S,
        concurrency: int = CONCURRENCY,
        timeouts: Timeouts | None = None,
        spool_dir: Path | None = None,
    ) -> None:
        """`bots` narrows the bots served; None serves all in `tokens`. Raises ValueError when none is left.

        `tokens` are those that `tokens_file` read at the start, where there is one. With `only_chats` messages to other
        chats are not sent: they end as discarded.
        `spool_dir` keeps results on the disk while the database is away; None keeps them in memory only.
        """
        served = [bot for bot in tokens if bots is None or bot in bots]
        if not served:
            raise ValueError("a worker needs the token of at least one bot it shall serve")
        self._name = name
        self._only = bots
        self._tokens = {bot: tokens[bot] for bot in served}
        self._tokens_file = tokens_file
        self._only_chats = None if only_chats is None else frozenset(only_chats)
        self._grace_s = grace_s
        self._concurrency = concurrency
        self._emit = shielded(emit)
        self._stopping = asyncio.Event()
        self._alarm = Alarm()
        self._sender = Sender(self._tokens, api_url, timeouts=timeouts)
        self._spool = Spool(spool_dir, emit=self._emit)
        self._connections = Connections(database_url, f"outbox worker {name}")
        self._identity = Identity(self._connections, environment)
        self._completion: Completion | None = None

    @property
    def connections(self) -> Connections:
        """The worker's connections, open while run() runs; another part of the same process may share them."""
        return self._connections

    @property
    def results_waiting(self) -> int:
        """Results that the database does not know of yet."""
        return self._completion.waiting if self._completion is not None else 0

    @property
    def results_spooled(self) -> int:
        """How many of them are on the disk."""
        return self._completion.spooled if self._completion is not None else 0

    @property
    def spool_is_full(self) -> bool:
        """Whether nothing is claimed because the disk takes no more results."""
        return self._spool.is_full

    @property
    def oldest_result_s(self) -> float:
        """Age of the oldest result that the database does not know of, in seconds; 0 where there is none."""
        return self._completion.oldest_s if self._completion is not None else 0.0

    async def until_stopping(self) -> None:
        """Return once the worker was asked to stop; its connections are then open for a moment longer."""
        await self._stopping.wait()

    def stop(self) -> None:
        """Ask run() to end: claimed lanes go back, requests in flight get their grace period."""
        self._stopping.set()
        self._alarm.ring()

    async def run(self) -> None:
        """Deliver until stop(); survives an absent database and an absent API.

        Raises ForeignDatabaseError when the database is not this worker's own, else only for a fault of ours.
        """

        def note_bots() -> None:
            self._alarm.ring()
            lease.note_bots()

        async def confirm() -> None:
            await self._identity.confirm(bots.telegram_ids())

        clock = Clock()
        mood = Mood()
        bots = Bots(
            self._tokens,
            self._sender,
            self._connections,
            self._identity,
            changed=note_bots,
            emit=self._emit,
            only=self._only,
        )
        # A lane just completed may have its next message: a follow-up wakeup that rings no bell of a busy worker.
        completion = self._completion = Completion(
            self._connections, flushed=lambda: self._alarm.within(BUSY_POLL_S), emit=self._emit, spool=self._spool
        )
        lease = Lease(
            self._connections,
            self._name,
            bots.serving,
            self._emit,
            may_reap=lambda: completion.may_reap,
            confirm=confirm,
        )
        bell = Bell(self._connections, bots.serves, self._alarm.ring, self._emit)
        claims = Claims(
            self._connections,
            lease,
            clock,
            self._alarm,
            mood,
            bots=bots.serving,
            bell_works=lambda: bell.works,
            emit=self._emit,
            may_claim=lambda: completion.may_claim,
        )
        flight = Flight(
            self._sender,
            lease,
            clock,
            self._concurrency,
            complete=completion.add,
            settle=claims.settle,
            landed=claims.note_room,
            emit=self._emit,
            allowed=self._allows,
            refused=bots.doubt,
        )

        await self._connections.open()
        try:
            # Before anything else is said or asked. A database that is away is looked at later, by the lease.
            with contextlib.suppress(TimeoutError, DatabaseAwayError, AnswerLostError, psycopg.Error):
                async with asyncio.timeout(IDENTITY_CHECK_S):
                    await confirm()
        except ForeignDatabaseError:
            self.stop()
            await self._connections.close()
            raise
        background = [
            _start(bots.watch()),
            _start(self._sender.keep_warm(bots.serving)),
            _start(lease.renew_for_ever()),
            _start(bell.listen()),
            _start(completion.flush_for_ever()),
            _start(completion.spool_for_ever()),
            *([] if self._tokens_file is None else [_start(bots.follow(self._tokens_file))]),
        ]
        checking = _start(bots.check())
        await asyncio.wait([checking], timeout=TOKEN_CHECK_S)
        claiming = _start(claims.claim_until(self._stopping, flight))
        self._emit(Started(self._name, tuple(bots.serving())))
        try:
            # Only claiming ends by itself, when stop() was called; anything else that ends is a fault.
            await asyncio.wait([claiming, *background], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            await asyncio.wait([claiming])
            await flight.drain(self._grace_s)
            unflushed = await completion.flush_last(self._grace_s)
            if not unflushed:
                with contextlib.suppress(ForeignDatabaseError):
                    await claims.settle_last()
            await _cancel([checking, *background])
            if not unflushed:
                # Otherwise the reaper must find the lanes whose outcome only we knew.
                await lease.leave()
            await self._sender.close()
            await self._connections.close()
            self._emit(Stopped(self._name, flight.given_back, unflushed, completion.spooled))
        for task in [claiming, *background]:
            if not task.cancelled() and (fault := task.exception()) is not None:
                raise fault

    def _allows(self, chat_id: str) -> bool:
        return self._only_chats is None or chat_id in self._only_chats


async def run_worker(worker: Worker, end_at_once: Callable[[int], object] = os._exit) -> None:
    """Run until SIGTERM or SIGINT, then drain; a second signal ends the process at once, by `end_at_once(status)`."""
    loop = asyncio.get_running_loop()
    signals = 0

    def stop(number: int) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            end_at_once(128 + number)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await worker.run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coroutine)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
