"""Lanes out of the database, settlements into it: the only caller of outbox.claim."""

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

from outbox.deliver.connections import AnswerLostError, Backoff, Connections, DatabaseAwayError, describe
from outbox.deliver.events import ClaimDone, Claimed, DatabaseFailed, Emit, MoodChanged
from outbox.deliver.flight import Flight
from outbox.deliver.heartbeat import REAPED, Lease
from outbox.deliver.lane import Lane, Settlement
from outbox.deliver.pace import Clock, place
from outbox.deliver.wake import Alarm, Mood

SETTLE_WITHIN_S: Final = 0.251  # claim visits the bucket for settlements alone once they are older than 250 ms
SETTLE_AGAIN_S: Final = 0.02  # another worker held the bucket
SETTLEMENT_LIFE_S: Final = 120.0  # by then its token is free by itself
SETTLEMENTS_PER_CLAIM: Final = 1000
SOONEST_S: Final = 0.002  # a claim that finds nothing and asks for another at once must not spin
FULL_S: Final = 1.0  # with no room the alarm tells when there is
GATHER_ROOM_S: Final = 0.01  # a nearly full worker claims for several places at once, not for each as it falls free
FEW: Final = 25  # places
DOUBT_S: Final = 0.25  # half of what makes a slot stale; beyond it a quick question to the clock sharpens the offset

_CLAIM: Final = """
SELECT bot, chat_id, message_id, attempt, method, payload::text, priority, on_uncertain, correlation_id, slot,
       extract(epoch FROM slot_at)::float8, extract(epoch FROM created_at)::float8,
       extract(epoch FROM clock_at)::float8, ask_again_s, settled,
       extract(epoch FROM due_at)::float8
  FROM outbox.claim(%s::bigint, %s::text[], %s::int, %s::jsonb)"""


class Claims:
    """Claims for as long as there is room, and brings every answer's settlement along."""

    def __init__(
        self,
        connections: Connections,
        lease: Lease,
        clock: Clock,
        alarm: Alarm,
        mood: Mood,
        *,
        bots: Callable[[], Sequence[str]],
        bell_works: Callable[[], bool],
        emit: Emit,
        may_claim: Callable[[], bool] = lambda: True,
    ) -> None:
        self._connections = connections
        self._lease = lease
        self._clock = clock
        self._alarm = alarm
        self._mood = mood
        self._bots = bots
        self._bell_works = bell_works
        self._emit = emit
        self._may_claim = may_claim
        self._settlements: list[Settlement] = []
        self._full = False

    def settle(self, settlement: Settlement) -> None:
        """Take a settlement to the next claim, which then comes within 250 ms."""
        self._settlements.append(settlement)
        self._alarm.within(SETTLE_WITHIN_S)

    def note_room(self) -> None:
        """A place fell free: worth a claim if there was none."""
        if self._full:
            self._alarm.within(GATHER_ROOM_S)

    async def claim_until(self, stopping: asyncio.Event, flight: Flight) -> None:
        """Launch lanes until `stopping` is set; the caller rings the alarm with it. A claim under way is finished."""
        backoff = Backoff()
        while not stopping.is_set():
            try:
                delay_s = await self._claim_once(flight.free if self._may_claim() else 0, flight.launch)
                backoff.reset()
            except (DatabaseAwayError, AnswerLostError, psycopg.Error) as error:
                delay_s = backoff.next_s()
                self._emit(DatabaseFailed("claim", describe(error), delay_s))
                # Not the alarm's sleep: a busy producer's bell must not turn a failing database into a busy loop.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), delay_s)
                continue
            await self._alarm.sleep(delay_s)

    async def settle_last(self, tries: int = 5) -> int:
        """Bring what is left without claiming; return how many settlements found the bucket locked each time."""
        for _ in range(tries):
            if not self._settlements:
                break
            try:
                await self._claim_once(0, _launch_nothing)
            except (DatabaseAwayError, AnswerLostError, psycopg.Error):
                break  # their tokens free themselves
            if self._settlements:
                await asyncio.sleep(SETTLE_AGAIN_S)
        return len(self._settlements)

    async def _claim_once(self, wanted: int, launch: Callable[[Lane], None]) -> float:
        """One claim; return in how many seconds to claim again at the latest."""
        self._drop_old()
        self._full = wanted == 0
        bots = list(self._bots())
        if not (bots and wanted) and not self._settlements:
            return FULL_S
        incarnation = await self._lease.take()
        settlements = self._settlements[:SETTLEMENTS_PER_CLAIM]
        asked_s = self._clock.now_s()
        try:
            *claimed, closing = await self._connections.call(
                _CLAIM, (incarnation, bots, wanted, json.dumps([_told(one, asked_s) for one in settlements]))
            )
        except psycopg.Error as error:
            if error.sqlstate != REAPED:
                raise
            self._lease.lose(incarnation)
            return 0.0
        except AnswerLostError:
            # It may have committed, and then lanes are in flight that we do not know of. Under this name they would
            # stay so for as long as we live: the next name lets the reaper find them.
            self._lease.abandon(incarnation)
            raise
        answered_s = self._clock.now_s()
        self._clock.observe(closing[12], asked_s, answered_s)
        if claimed and self._clock.doubt_s > DOUBT_S:
            await self._ask_clock()
        for row in claimed:
            lane = place(_lane(incarnation, row, answered_s), self._clock)
            self._emit(
                Claimed(
                    lane.bot,
                    lane.chat_id,
                    lane.message_id,
                    lane.attempt,
                    lane.priority,
                    lane.correlation_id,
                    max(0.0, lane.due_s - answered_s),
                )
            )
            launch(lane)
        settled = self._forget(settlements, set(closing[14] or ()))
        ask_again_s: float | None = closing[13]
        self._emit(ClaimDone(answered_s - asked_s, len(claimed), wanted, settled, ask_again_s))
        if self._mood.note(len(claimed), wanted, ask_again_s):
            await self._change_mood()
        return self._delay_s(wanted, ask_again_s)

    def _delay_s(self, wanted: int, ask_again_s: float | None) -> float:
        delay_s = self._mood.poll_s(self._bell_works()) * random.uniform(0.9, 1.0) if wanted else FULL_S
        if wanted and ask_again_s is not None:
            delay_s = min(delay_s, max(ask_again_s, SOONEST_S if wanted >= FEW else GATHER_ROOM_S))
        if self._settlements:
            due_s = self._settlements[0].answered_s + SETTLE_WITHIN_S - self._clock.now_s()
            delay_s = min(delay_s, max(due_s, SETTLE_AGAIN_S))
        return delay_s

    async def _change_mood(self) -> None:
        # The database first: a worker that believes it is rung for, and is not, would sleep through an insert.
        if await self._lease.tell(not self._mood.idle):
            self._mood.change()
            self._emit(MoodChanged(self._mood.idle))

    async def _ask_clock(self) -> None:
        asked_s = self._clock.now_s()
        # The lanes are claimed: whatever happens here, they must be launched.
        with contextlib.suppress(DatabaseAwayError, AnswerLostError, psycopg.Error):
            [(clock_at_s,)] = await self._connections.call("SELECT extract(epoch FROM outbox.clock())::float8")
            self._clock.observe(clock_at_s, asked_s, self._clock.now_s())

    def _forget(self, brought: list[Settlement], settled: set[str]) -> int:
        done = {id(one) for one in brought if one.bot in settled}
        if done:
            self._settlements = [one for one in self._settlements if id(one) not in done]
        return len(done)

    def _drop_old(self) -> None:
        oldest_s = self._clock.now_s() - SETTLEMENT_LIFE_S
        if self._settlements and self._settlements[0].answered_s < oldest_s:
            self._settlements = [one for one in self._settlements if one.answered_s >= oldest_s]


def _lane(incarnation: int, row: tuple[Any, ...], claimed_s: float) -> Lane:
    return Lane(
        incarnation=incarnation,
        bot=row[0],
        chat_id=row[1],
        message_id=row[2],
        attempt=row[3],
        method=row[4],
        payload=row[5],
        priority=row[6],
        on_uncertain=row[7],
        correlation_id=row[8],
        slot=row[9],
        slot_at_s=row[10],
        created_at_s=row[11],
        due_at_s=row[15],
        claimed_s=claimed_s,
    )


def _told(settlement: Settlement, now: float) -> dict[str, Any]:
    return {
        "bot": settlement.bot,
        "chat_id": settlement.chat_id,
        "slot": settlement.slot,
        "age_s": max(0.0, now - settlement.answered_s),
        "result": settlement.result,
        "round_trip_s": settlement.round_trip_s,
        "retry_after_s": settlement.retry_after_s,
    }


def _launch_nothing(lane: Lane) -> None:
    raise AssertionError("a claim of no lanes gave one")
