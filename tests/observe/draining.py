"""One worker drains a backlog in the test's time: every slot is obeyed and every answer takes its round trip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.invariants.calls import Connection, Lane, claim, complete, register, result, settlement
from tests.invariants.frozen_clock import FrozenClock

STEP_S = 0.05
ROUND_TRIP_S = 0.05
HEARTBEAT_S = 5.0
MEASURE_S = 15.0  # as housekeeping does


class Drain:
    """Claims every 50 ms, answers each lane 50 ms after its slot, keeps its lease, measures as housekeeping does."""

    def __init__(self, connection: Connection, frozen: FrozenClock) -> None:
        self._connection = connection
        self._frozen = frozen
        self._worker = register(connection)
        self._in_flight: list[Lane] = []
        self._unsettled: list[Lane] = []
        self._heartbeat_at = self._measured_at = frozen.at
        self.slot_at: dict[int, datetime] = {}

    def run(self, seconds: float, each_step: Callable[[float], Any] | None = None) -> None:
        """Let so many seconds pass; each_step is called with the seconds since the start."""
        start = self._frozen.at
        while self._frozen.at < start + timedelta(seconds=seconds):
            if each_step is not None:
                each_step((self._frozen.at - start).total_seconds())
            self._step()

    def run_until_sent(self, *message_ids: int, within_s: float = 120.0) -> None:
        """Let time pass until these messages have had their slots."""
        given_up_at = self._frozen.at + timedelta(seconds=within_s)
        while not self.slot_at.keys() >= set(message_ids):
            assert self._frozen.at < given_up_at, f"not sent within {within_s:g} s"
            self._step()

    def _step(self) -> None:
        now = self._frozen.at
        answered = [x for x in self._in_flight if x.slot_at + timedelta(seconds=ROUND_TRIP_S) <= now]
        self._in_flight = [x for x in self._in_flight if x not in answered]
        if answered:
            told = [result(x, age_s=self._age_s(x), duration_s=ROUND_TRIP_S) for x in answered]
            complete(self._connection, self._worker, told)
        self._unsettled += answered
        brought = [settlement(x, age_s=self._age_s(x), round_trip_s=ROUND_TRIP_S) for x in self._unsettled]
        given = claim(self._connection, self._worker, 30, settlements=brought)
        self._unsettled = [x for x in self._unsettled if x.bot not in given.settled]
        for lane in given.lanes:
            self.slot_at[lane.message_id] = lane.slot_at
        self._in_flight += given.lanes
        if now - self._heartbeat_at >= timedelta(seconds=HEARTBEAT_S):
            self._connection.execute("SELECT outbox.heartbeat(%s, false)", [self._worker])
            self._heartbeat_at = now
        if now - self._measured_at >= timedelta(seconds=MEASURE_S):
            self._connection.execute("SELECT outbox.measure_queue()")
            self._measured_at = now
        self._frozen.advance(STEP_S)

    def _age_s(self, lane: Lane) -> float:
        return (self._frozen.at - lane.slot_at).total_seconds() - ROUND_TRIP_S
