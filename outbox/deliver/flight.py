"""The lanes in flight: each is paced, sent, classified, and its result handed on."""

import asyncio
from collections.abc import Callable
from typing import Any

from outbox.deliver import events
from outbox.deliver.answer import Failure
from outbox.deliver.classify import Outcome, classify
from outbox.deliver.events import Emit
from outbox.deliver.heartbeat import Lease
from outbox.deliver.lane import Lane, Result, Settlement
from outbox.deliver.pace import Clock, is_stale, pace
from outbox.deliver.send import Sender


class Flight:
    """At most `concurrency` lanes at once. Every lane launched ends in exactly one result."""

    def __init__(
        self,
        sender: Sender,
        lease: Lease,
        clock: Clock,
        concurrency: int,
        *,
        complete: Callable[[Result], None],
        settle: Callable[[Settlement], None],
        landed: Callable[[], None],
        emit: Emit,
        allowed: Callable[[str], bool] = lambda chat_id: True,
        refused: Callable[[str], None] = lambda bot: None,
    ) -> None:
        """`allowed`: may anything be sent to that chat?  `refused` is told a bot whose bot token Telegram refused."""
        self._sender = sender
        self._lease = lease
        self._clock = clock
        self._concurrency = concurrency
        self._complete = complete
        self._settle = settle
        self._landed = landed
        self._emit = emit
        self._allowed = allowed
        self._refused = refused
        self._tasks: set[asyncio.Task[None]] = set()
        self._pacing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.given_back = 0

    @property
    def free(self) -> int:
        """How many more lanes may be launched."""
        return max(0, self._concurrency - len(self._tasks))

    def launch(self, lane: Lane) -> None:
        """Start carrying a claimed and placed lane."""
        if self._stopping:
            self._give_back(lane, "stopping")
            return
        if not self._allowed(lane.chat_id):
            self._discard(lane, "not_allowed")
            return
        task = asyncio.get_running_loop().create_task(self._carry(lane))
        self._tasks.add(task)
        self._pacing.add(task)
        task.add_done_callback(self._land)

    async def drain(self, grace_s: float) -> None:
        """Give back what is not sent yet; wait for the other answers, which after grace_s seconds count as lost."""
        self._stopping = True
        # A task that is cancelled before its first step never runs, and its lane would never come back.
        await asyncio.sleep(0)
        for task in list(self._pacing):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _land(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pacing.discard(task)
        self._landed()

    async def _carry(self, lane: Lane) -> None:
        try:
            await self._pace_and_call(lane)
        except Exception as fault:
            # A fault of ours. Without a result the lane would stay in flight for as long as this worker lives.
            self._complete(
                Result(
                    lane.incarnation,
                    lane.bot,
                    lane.chat_id,
                    lane.message_id,
                    lane.attempt,
                    "uncertain",
                    ended_s=self._clock.now_s(),
                    error_class="worker_fault",
                    error_text=type(fault).__name__,
                    meaning="uncertain",
                    reach="message",
                    correlation_id=lane.correlation_id,
                )
            )
            self._emit(events.Faulted(lane.bot, lane.chat_id, lane.message_id, lane.attempt, type(fault).__name__))
            raise

    async def _pace_and_call(self, lane: Lane) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            paced = await pace(lane, self._clock)
        except asyncio.CancelledError:
            self._give_back(lane, "stopping")
            return
        finally:
            self._pacing.discard(task)
        if paced is None:
            self._give_back(lane, "stale")
        elif not self._lease.may_send(lane.incarnation):
            self._give_back(lane, "lease")
        else:
            await self._call(lane)

    async def _call(self, lane: Lane) -> None:
        started_s = self._clock.now_s()

        def may_write() -> bool:
            nonlocal started_s
            started_s = self._clock.now_s()
            return not is_stale(lane, started_s) and self._lease.may_send(lane.incarnation)

        try:
            call = await self._sender.send(
                lane.bot, lane.chat_id, lane.method, lane.payload, may_write, fresh=lane.on_uncertain == "hold"
            )
        except KeyError:
            # The bot token was taken away after the claim.
            self._give_back(lane, "no_token")
            return
        ended_s = self._clock.now_s()
        if isinstance(call.answer, Failure) and call.answer.kind == "unsent":
            self._give_back(lane, "stopping" if self._stopping else "stale")
            return
        outcome = classify(lane.method, call.answer)
        self._complete(
            Result(
                incarnation=lane.incarnation,
                bot=lane.bot,
                chat_id=lane.chat_id,
                message_id=lane.message_id,
                attempt=lane.attempt,
                outcome=outcome.outcome,
                ended_s=ended_s,
                duration_s=ended_s - started_s,
                http_status=outcome.http_status,
                error_code=outcome.error_code,
                error_class=outcome.error_class,
                error_text=outcome.error_text,
                retry_after_s=outcome.retry_after_s,
                telegram_message_id=outcome.telegram_message_id,
                meaning=outcome.meaning,
                reach=outcome.reach,
                migrate_to=outcome.migrate_to,
                telegram_answer=outcome.telegram_answer,
                correlation_id=lane.correlation_id,
            )
        )
        self._settle(
            Settlement(
                lane.bot,
                lane.chat_id,
                lane.slot,
                outcome.settle,
                ended_s,
                call.round_trip_s,
                retry_after_s=outcome.retry_after_s,
            )
        )
        if outcome.error_class == "bot_unauthorized":
            # Apart: the result is on its way, and a fault in there must not give this lane another one.
            asyncio.get_running_loop().call_soon(self._refused, lane.bot)
        self._emit(self._told(lane, outcome, started_s, ended_s))

    def _give_back(self, lane: Lane, reason: str) -> None:
        self.given_back += 1
        self._end_unsent(lane, "unsent", reason)

    def _discard(self, lane: Lane, reason: str) -> None:
        self._end_unsent(lane, "discard", reason, error_class=reason)

    def _end_unsent(self, lane: Lane, outcome: str, reason: str, error_class: str | None = None) -> None:
        now_s = self._clock.now_s()
        self._complete(
            Result(
                lane.incarnation,
                lane.bot,
                lane.chat_id,
                lane.message_id,
                lane.attempt,
                outcome,
                ended_s=now_s,
                error_class=error_class,
                correlation_id=lane.correlation_id,
            )
        )
        self._settle(Settlement(lane.bot, lane.chat_id, lane.slot, "unsent", now_s, None))
        self._emit(
            events.GivenBack(
                lane.bot, lane.chat_id, lane.message_id, lane.attempt, correlation_id=lane.correlation_id, reason=reason
            )
        )

    def _told(self, lane: Lane, outcome: Outcome, started_s: float, ended_s: float) -> events.Event:
        shared: dict[str, Any] = {
            "bot": lane.bot,
            "chat_id": lane.chat_id,
            "message_id": lane.message_id,
            "attempt": lane.attempt,
            "priority": lane.priority,
            "method": lane.method,
            "correlation_id": lane.correlation_id,
            "duration_s": ended_s - started_s,
            "late_s": started_s - lane.due_s,
            "http_status": outcome.http_status,
            "error_class": outcome.error_class,
            "error_text": outcome.error_text,
            "retry_after_s": outcome.retry_after_s,
        }
        match outcome.outcome:
            case "sent":
                return events.Sent(
                    **shared,
                    telegram_message_id=outcome.telegram_message_id,
                    since_created_s=ended_s - self._clock.offset_s - lane.created_at_s,
                    since_due_s=ended_s - self._clock.offset_s - lane.due_at_s,
                )
            case "wait":
                return events.Waited(**shared)
            case "retry":
                return events.Retried(**shared)
            case "uncertain":
                return events.Uncertain(**shared)
            case _:
                return events.Died(**shared)
