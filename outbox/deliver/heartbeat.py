"""The lease: who this worker is to the database, and until when it may send."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from importlib import metadata
from typing import Final

import psycopg

from outbox.deliver.connections import AnswerLostError, Backoff, Connections, DatabaseAwayError, describe
from outbox.deliver.events import DatabaseFailed, Emit, LeaseTaken, Reaped
from outbox.deliver.pace import now_s

HEARTBEAT_EVERY_S: Final = 5.0
SEND_WITHOUT_HEARTBEAT_S: Final = 15.0  # 5 s before the lease of 20 s ends and another worker may send the same
REAP_AFTER_S: Final = 0.1  # after a lease's end, and between two tries
REAP_LATER_S: Final = 0.2  # while the database is told what it missed
REAPED: Final = "OB001"


async def _nothing_to_confirm() -> None:
    pass


class Lease:
    """One incarnation after the other: a worker that finds itself reaped takes a new one, then claims again (I7)."""

    def __init__(
        self,
        connections: Connections,
        name: str,
        bots: Callable[[], Sequence[str]],
        emit: Emit,
        now: Callable[[], float] = now_s,
        may_reap: Callable[[], bool] = lambda: True,
        *,
        confirm: Callable[[], Awaitable[None]] = _nothing_to_confirm,
    ) -> None:
        """`confirm` is asked before each incarnation: a failover may have led to another database. What it raises ends
        the worker."""
        self._connections = connections
        self._name = name
        self._bots = bots
        self._emit = emit
        self._now = now
        self._may_reap = may_reap
        self._confirm = confirm
        self._told_bots: list[str] | None = None
        self._bots_changed = asyncio.Event()
        self._renewed_s: dict[int, float] = {}
        self._taking = asyncio.Lock()
        self._taken = False
        self.incarnation: int | None = None
        self.idle = True

    def may_send(self, incarnation: int) -> bool:
        """Whether a lane claimed by that incarnation is still ours to send."""
        renewed_s = self._renewed_s.get(incarnation)
        return renewed_s is not None and self._now() - renewed_s < SEND_WITHOUT_HEARTBEAT_S

    def lose(self, incarnation: int) -> None:
        """It was reaped: what it claimed belongs to others now."""
        self._renewed_s.pop(incarnation, None)
        if self.incarnation == incarnation:
            self.incarnation = None

    def abandon(self, incarnation: int) -> None:
        """Let its lease run out: lanes may be in its name that nobody here knows of. What is known is still sent."""
        if self.incarnation == incarnation:
            self.incarnation = None

    def note_bots(self) -> None:
        """Other bots are served now: the database is told soon."""
        self._bots_changed.set()

    async def take(self) -> int:
        """The current incarnation, registered anew if there is none. Raises what Connections.call and confirm raise."""
        async with self._taking:
            if self.incarnation is not None and self.may_send(self.incarnation):
                return self.incarnation
            await self._confirm()
            asked_s = self._now()
            bots = list(self._bots())
            [(registered,)] = await self._connections.call(
                "SELECT outbox.register_worker(%s::text, %s::text[], %s::text, %s::int, %s::text)",
                (self._name, bots, socket.gethostname(), os.getpid(), _version()),
            )
            incarnation = int(registered)
            reason = "lost" if self._taken else "start"
            self._taken = True
            self._told_bots = bots
            self._renewed_s = {known: at for known, at in self._renewed_s.items() if asked_s - at < 60}
            self._renewed_s[incarnation] = asked_s
            self.incarnation = incarnation
            self._emit(LeaseTaken(incarnation, reason))
            # A new row says idle. If we are busy, inserts would ring for nothing.
            if not self.idle:
                await self._heartbeat(incarnation)
            return incarnation

    async def tell(self, idle: bool) -> bool:
        """Renew, and say whether inserts should ring. True when the database knows; never raises for its absence."""
        incarnation = self.incarnation
        if incarnation is None:
            return False
        before, self.idle = self.idle, idle
        try:
            return await self._heartbeat(incarnation)
        except (DatabaseAwayError, AnswerLostError, psycopg.Error) as error:
            self.idle = before
            self._emit(DatabaseFailed("heartbeat", describe(error), HEARTBEAT_EVERY_S))
            return False

    async def renew_for_ever(self) -> None:
        """Every 5 s, with the reaper. Runs until cancelled."""
        backoff = Backoff(initial_s=0.5)
        while True:
            try:
                incarnation = await self.take()
                await self._heartbeat(incarnation)
                ends_in_s = await self._reap()
                await self._tell_bots(incarnation)
            except (DatabaseAwayError, AnswerLostError, psycopg.Error) as error:
                delay_s = backoff.next_s()
                self._emit(DatabaseFailed("heartbeat", describe(error), delay_s))
                await asyncio.sleep(delay_s)
            else:
                backoff.reset()
                # A lease that ends before the next heartbeat is a dead worker's: its lanes go on when it ends.
                soonest_s = HEARTBEAT_EVERY_S if ends_in_s is None else max(ends_in_s + REAP_AFTER_S, REAP_AFTER_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._bots_changed.wait(), min(HEARTBEAT_EVERY_S, soonest_s))

    async def _reap(self) -> float | None:
        """Release the lanes of dead workers; return in how many seconds the next lease ends."""
        if not self._may_reap():
            return REAP_LATER_S - REAP_AFTER_S
        [(reaped, ends_in_s)] = await self._connections.call("SELECT outbox.reap(), outbox.lease_ends_in_s()")
        if reaped:
            self._emit(Reaped(reaped))
        return float(ends_in_s) if ends_in_s is not None else None

    async def leave(self) -> None:
        """Say goodbye, if the database listens; otherwise the lease ends by itself."""
        if self.incarnation is None:
            return
        with contextlib.suppress(DatabaseAwayError, AnswerLostError, psycopg.Error):
            await self._connections.call("SELECT outbox.leave(%s::bigint)", (self.incarnation,))

    async def _tell_bots(self, incarnation: int) -> None:
        self._bots_changed.clear()
        bots = list(self._bots())
        if bots != self._told_bots:
            await self._connections.call("SELECT outbox.serve(%s::bigint, %s::text[])", (incarnation, bots))
            self._told_bots = bots

    async def _heartbeat(self, incarnation: int) -> bool:
        # The lease counts from when we asked, not from when the answer was read.
        asked_s = self._now()
        [(alive,)] = await self._connections.call(
            "SELECT outbox.heartbeat(%s::bigint, %s::boolean)", (incarnation, self.idle)
        )
        if alive:
            self._renewed_s[incarnation] = asked_s
        else:
            self.lose(incarnation)
        return bool(alive)


def _version() -> str:
    try:
        return metadata.version("outbox")
    except metadata.PackageNotFoundError:
        return "unknown"
