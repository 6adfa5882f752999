"""What the worker does when a call of the database fails, or nobody knows whether it did."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import psycopg
import pytest

from outbox.deliver.claim import Claims
from outbox.deliver.complete import Completion
from outbox.deliver.connections import AnswerLostError, Connections, DatabaseAwayError
from outbox.deliver.events import ignore
from outbox.deliver.flight import Flight
from outbox.deliver.heartbeat import SEND_WITHOUT_HEARTBEAT_S, Lease
from outbox.deliver.lane import Lane, Result, Settlement
from outbox.deliver.pace import Clock, now_s
from outbox.deliver.wake import Alarm, Mood

Rows = list[tuple[Any, ...]]
NOTHING_CLAIMED: tuple[Any, ...] = (*[None] * 12, 1000.0, None, [])


class Scripted:
    """Answers each function of the contract as the test says, and remembers the calls."""

    def __init__(self, **answers: Callable[..., Rows]) -> None:
        self._answers = answers
        self.calls: list[tuple[str, Sequence[Any]]] = []

    async def call(self, query: str, parameters: Sequence[Any] = ()) -> Rows:
        function = query.partition("outbox.")[2].partition("(")[0]
        self.calls.append((function, parameters))
        await asyncio.sleep(0)
        return self._answers[function](*parameters)

    def to(self, function: str) -> list[Sequence[Any]]:
        return [parameters for called, parameters in self.calls if called == function]


class Room:
    """A flight that only has room."""

    free = 10

    def launch(self, lane: Lane) -> None:
        raise AssertionError("nothing to launch")


def _incarnations() -> Callable[..., Rows]:
    numbers = iter(range(1, 100))
    return lambda *_: [(next(numbers),)]


def _result(message_id: int, incarnation: int = 1) -> Result:
    return Result(incarnation, "default", "42", message_id, 1, "sent", ended_s=now_s())


def _claims(scripted: Scripted) -> tuple[Claims, Lease]:
    connections = cast("Connections", scripted)
    lease = Lease(connections, "w", lambda: ["default"], ignore)
    claims = Claims(
        connections,
        lease,
        Clock(),
        Alarm(),
        Mood(),
        bots=lambda: ["default"],
        bell_works=lambda: True,
        emit=ignore,
    )
    return claims, lease


@pytest.mark.parametrize("fault", [AnswerLostError("no answer"), "OB001"])
async def test_after_a_lost_answer_or_a_reaped_lease_a_new_incarnation_claims(fault: Exception | str) -> None:
    stopping = asyncio.Event()
    claimed: list[int] = []

    def claim(incarnation: int, *_: Any) -> Rows:
        claimed.append(incarnation)
        if len(claimed) == 1:
            raise fault if isinstance(fault, Exception) else _error(fault)
        stopping.set()
        return [NOTHING_CLAIMED]

    scripted = Scripted(register_worker=_incarnations(), claim=claim)
    claims, lease = _claims(scripted)
    async with asyncio.timeout(5):
        await claims.claim_until(stopping, cast("Flight", Room()))
    assert claimed == [1, 2]
    # After a lost answer what was claimed before is still ours to send, after the reaper it is not.
    assert lease.may_send(1) is isinstance(fault, Exception)
    assert lease.may_send(2)


def _error(sqlstate: str) -> psycopg.Error:
    class StateError(psycopg.Error):
        pass

    StateError.sqlstate = sqlstate
    return StateError("worker 1 has lost its lease")


async def test_settlements_come_again_until_their_bot_is_settled() -> None:
    stopping = asyncio.Event()
    brought: list[list[int]] = []

    def claim(_: int, _bots: Any, _n: int, settlements: str) -> Rows:
        brought.append([one["slot"] for one in json.loads(settlements)])
        settled = ["default"] if len(brought) == 2 else []
        if len(brought) == 3:
            stopping.set()
        return [(*NOTHING_CLAIMED[:14], settled)]

    scripted = Scripted(register_worker=_incarnations(), claim=claim)
    claims, _ = _claims(scripted)
    claims.settle(Settlement("default", "42", 7, "ok", now_s(), 0.02))
    claims.settle(Settlement("other", "42", 9, "ok", now_s(), 0.02))
    async with asyncio.timeout(5):
        await claims.claim_until(stopping, cast("Flight", Room()))
    assert brought == [[7, 9], [7, 9], [9]]


async def test_a_settlement_alone_leads_to_a_claim_within_a_quarter_second() -> None:
    stopping = asyncio.Event()
    at_s: list[float] = []

    def claim(*parameters: Any) -> Rows:
        if json.loads(parameters[3]):
            at_s.append(now_s())
            stopping.set()
        return [NOTHING_CLAIMED]

    scripted = Scripted(register_worker=_incarnations(), claim=claim)
    claims, _ = _claims(scripted)
    room = Room()
    room.free = 0
    running = asyncio.create_task(claims.claim_until(stopping, cast("Flight", room)))
    await asyncio.sleep(0.05)
    answered_s = now_s()
    claims.settle(Settlement("default", "42", 7, "ok", answered_s, 0.02))
    await asyncio.wait_for(running, 5)
    assert 0.25 <= at_s[0] - answered_s < 0.4


async def test_results_wait_for_a_database_that_is_away() -> None:
    tries = 0

    def complete(_: int, results: str) -> Rows:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DatabaseAwayError("no connection")
        if tries == 2:
            raise AnswerLostError("broken")
        return [(len(json.loads(results)),)]

    completion = Completion(cast("Connections", Scripted(complete=complete)), flushed=lambda: None, emit=ignore)
    for number in range(3):
        completion.add(_result(number))
    assert await completion.flush_last(5) == 0
    assert tries == 3


async def test_results_name_the_incarnation_that_claimed() -> None:
    scripted = Scripted(complete=lambda *_: [(1,)])
    completion = Completion(cast("Connections", scripted), flushed=lambda: None, emit=ignore)
    for number, incarnation in enumerate([1, 2, 1]):
        completion.add(_result(number, incarnation))
    assert await completion.flush_last(5) == 0
    told = {
        incarnation: [r["message_id"] for r in json.loads(results)] for incarnation, results in scripted.to("complete")
    }
    assert told == {1: [0, 2], 2: [1]}


async def test_one_result_that_the_database_refuses_does_not_hold_up_the_others() -> None:
    applied: list[int] = []

    def complete(_: int, results: str) -> Rows:
        told = [result["message_id"] for result in json.loads(results)]
        if 3 in told:
            raise psycopg.errors.NumericValueOutOfRange("out of range")
        applied.extend(told)
        return [(len(told),)]

    completion = Completion(cast("Connections", Scripted(complete=complete)), flushed=lambda: None, emit=ignore)
    for number in range(6):
        completion.add(_result(number))
    flushing = asyncio.create_task(completion.flush_for_ever())
    async with asyncio.timeout(10):
        while len(applied) < 5:
            await asyncio.sleep(0.01)
    assert sorted(applied) == [0, 1, 2, 4, 5]
    assert completion.waiting == 1, "and it is not forgotten"
    assert await completion.flush_last(0.1) == 1
    flushing.cancel()


async def test_without_a_heartbeat_for_15_seconds_nothing_is_sent() -> None:
    at_s = 100.0
    scripted = Scripted(register_worker=_incarnations(), heartbeat=lambda *_: [(True,)])
    lease = Lease(cast("Connections", scripted), "w", lambda: ["default"], ignore, now=lambda: at_s)
    incarnation = await lease.take()
    at_s += SEND_WITHOUT_HEARTBEAT_S - 0.1
    assert lease.may_send(incarnation)
    at_s += 0.2
    assert not lease.may_send(incarnation)
    assert await lease.take() == 2


async def test_an_incarnation_that_was_reaped_may_not_send() -> None:
    scripted = Scripted(register_worker=_incarnations(), heartbeat=lambda *_: [(False,)])
    lease = Lease(cast("Connections", scripted), "w", lambda: ["default"], ignore)
    incarnation = await lease.take()
    assert not await lease.tell(idle=False)
    assert not lease.may_send(incarnation)
