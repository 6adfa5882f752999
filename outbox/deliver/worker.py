"""The worker: starts the steps, drains on a signal, nothing else."""

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr

from outbox.deliver.bots import Bots
from outbox.deliver.claim import Claims
from outbox.deliver.complete import Completion
from outbox.deliver.connections import Connections
from outbox.deliver.events import Emit, Started, Stopped, ignore, shielded
from outbox.deliver.flight import Flight
from outbox.deliver.heartbeat import Lease
from outbox.deliver.listen import Bell
from outbox.deliver.pace import Clock
from outbox.deliver.send import Sender, Timeouts
from outbox.deliver.wake import BUSY_POLL_S, Alarm, Mood

GRACE_S: Final = 10.0
CONCURRENCY: Final = 250  # 30 messages a second that Telegram holds 8 s each are 240 in flight
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
        emit: Emit = ignore,
        grace_s: float = GRACE_S,
        concurrency: int = CONCURRENCY,
        timeouts: Timeouts | None = None,
    ) -> None:
        """`bots` narrows the bots served; None serves all in `tokens`. Raises ValueError when none is left."""
        served = [bot for bot in tokens if bots is None or bot in bots]
        if not served:
            raise ValueError("a worker needs the token of at least one bot it shall serve")
        self._name = name
        self._grace_s = grace_s
        self._concurrency = concurrency
        self._emit = shielded(emit)
        self._stopping = asyncio.Event()
        self._alarm = Alarm()
        self._sender = Sender({bot: tokens[bot] for bot in served}, api_url, timeouts=timeouts)
        self._connections = Connections(database_url, f"outbox worker {name}")
        self._bots = Bots(served, self._sender, changed=self._alarm.ring, emit=self._emit)

    @property
    def connections(self) -> Connections:
        """The worker's connections, open while run() runs; another part of the same process may share them."""
        return self._connections

    async def until_stopping(self) -> None:
        """Return once the worker was asked to stop; its connections are then open for a moment longer."""
        await self._stopping.wait()

    def stop(self) -> None:
        """Ask run() to end: claimed lanes go back, requests in flight get their grace period."""
        self._stopping.set()
        self._alarm.ring()

    async def run(self) -> None:
        """Deliver until stop(); survives an absent database and an absent API. Raises only for a fault of its own."""
        clock = Clock()
        mood = Mood()
        lease = Lease(self._connections, self._name, self._bots.serving, self._emit)
        bell = Bell(self._connections, self._bots.serves, self._alarm.ring, self._emit)
        claims = Claims(
            self._connections,
            lease,
            clock,
            self._alarm,
            mood,
            bots=self._bots.serving,
            bell_works=lambda: bell.works,
            emit=self._emit,
        )
        # A lane just completed may have its next message: a follow-up wakeup that rings no bell of a busy worker.
        completion = Completion(self._connections, flushed=lambda: self._alarm.within(BUSY_POLL_S), emit=self._emit)
        flight = Flight(
            self._sender,
            lease,
            clock,
            self._concurrency,
            complete=completion.add,
            settle=claims.settle,
            landed=claims.note_room,
            emit=self._emit,
        )

        await self._connections.open()
        background = [
            _start(self._bots.check_refused_for_ever()),
            _start(self._sender.keep_warm(self._bots.serving)),
            _start(lease.renew_for_ever()),
            _start(bell.listen()),
            _start(completion.flush_for_ever()),
        ]
        checking = _start(self._bots.check())
        await asyncio.wait([checking], timeout=TOKEN_CHECK_S)
        claiming = _start(claims.claim_until(self._stopping, flight))
        self._emit(Started(self._name, tuple(self._bots.serving())))
        try:
            # Only claiming ends by itself, when stop() was called; anything else that ends is a fault.
            await asyncio.wait([claiming, *background], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            await asyncio.wait([claiming])
            await flight.drain(self._grace_s)
            unflushed = await completion.flush_last(self._grace_s)
            await claims.settle_last()
            await _cancel([checking, *background])
            if not unflushed:
                # Otherwise the reaper must find the lanes whose outcome only we knew.
                await lease.leave()
            await self._sender.close()
            await self._connections.close()
            self._emit(Stopped(self._name, flight.given_back, unflushed))
        for task in [claiming, *background]:
            if not task.cancelled() and (fault := task.exception()) is not None:
                raise fault


async def run_worker(worker: Worker) -> None:
    """Run until SIGTERM or SIGINT, then drain; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    signals = 0

    def stop(number: int) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(128 + number)
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
