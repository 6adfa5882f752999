"""The model follows what the database says, and complains where the two part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from hypothesis import strategies as st

from tests.invariants import checks
from tests.invariants.calls import Claim, claim, register
from tests.invariants.endings import Judge, look
from tests.invariants.model import (
    CHAT_INTERVAL_S,
    GROUP_LIMIT,
    GROUP_WINDOW_S,
    HORIZON,
    RATE,
    ROUND_TRIP_S,
    SUPERGROUP,
    Flight,
    Key,
    Message,
    Stop,
    Telling,
)
from tests.invariants.pacing import Use, most_in_a_window
from tests.invariants.wishes import BOTS
from tests.invariants.world import Producer, Worker, World

PRODUCERS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ")


class Seen(NamedTuple):
    """What was committed when a call began: messages, and those for which a cancel was asked by then."""

    ids: set[int]
    asked: set[int]


class Follower:
    """The state of one example, how it follows each call, and what must hold after it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.reset()
        self.clock = world.clock
        self.workers = [Worker(connection) for connection in world.claimers]
        self.producers = [Producer(c, isolation) for c, isolation in zip(world.producers, PRODUCERS, strict=True)]
        self.ids: dict[Key, list[int]] = {}  # ever given, per lane; some were rolled back
        self.messages: dict[int, Message] = {}
        self.stops: list[Stop] = []
        self.gone: set[Key] = set()  # lanes whose group has become a supergroup
        self.flights: dict[Key, Flight] = {}  # as the database should see them
        self.lost: list[Flight] = []  # reaped: their workers may still answer
        self.answered: list[Flight] = []  # whose results may come again
        self.uses: dict[str, list[Use]] = {bot: [] for bot in BOTS}
        self.may_send_at: dict[Key, datetime] = {}
        self.group_sent_at: dict[Key, list[datetime]] = {}
        self.deadlines: dict[Key, list[datetime | None]] = {}
        self.open_claim: tuple[Worker, Claim, Judge | None] | None = None
        self.open_complete: tuple[list[Telling], Seen] | None = None

    def nothing_is_broken(self) -> None:
        assert not checks.broken(self.world.judge)

    def every_message_is_where_the_model_says(self) -> None:
        found = look(self.world.judge)
        assert {i: row.status for i, row in found.items()} == {m.id: m.status for m in self.messages.values()}
        for message in self.messages.values():
            row = found[message.id]
            if row.place is not None:
                assert row.place == message.place, f"{message} has moved to {row.place}"
                assert row.chat_id == message.chat_id, f"{message} is in chat {row.chat_id}"
                assert row.attempts == message.attempts, f"{message} has spent {row.attempts} attempts"

    def every_flight_is_where_the_model_says(self) -> None:
        rows = self.world.judge.execute(
            "SELECT bot, chat_id, in_flight, worker, attempt FROM outbox.chat WHERE in_flight IS NOT NULL"
        ).fetchall()
        assert {(row[0], row[1]): row[2:] for row in rows} == {
            lane: (flight.lane.message_id, flight.worker, flight.lane.attempt) for lane, flight in self.flights.items()
        }

    def no_deadline_moves_earlier(self) -> None:
        for bot, chat_id, *deadlines in self.world.judge.execute(
            "SELECT bot, chat_id, next_send_at, backoff_until[1], backoff_until[2], backoff_until[3], backoff_until[4]"
            "  FROM outbox.chat"
        ).fetchall():
            before = self.deadlines.get((bot, chat_id), [None] * 5)
            for earlier, later in zip(before, deadlines, strict=True):
                assert earlier is None or (later is not None and later >= earlier), f"a deadline of {chat_id} moved"
            self.deadlines[bot, chat_id] = deadlines

    def _register(self, worker: Worker) -> int:
        if worker.incarnation is None or worker.frozen:
            worker.incarnation = register(worker.connection, *BOTS)
            worker.frozen = False
        return worker.incarnation

    def _claim(self, worker: Worker, n: int, bots: tuple[str, ...]) -> tuple[Claim, Judge | None]:
        incarnation = self._register(worker)
        settlements = [
            {k: v for k, v in s.items() if k != "answered_at"}
            | {"age_s": (self.clock.at - s["answered_at"]).total_seconds()}
            for s in worker.settlements
        ]
        try:
            answer = claim(worker.connection, incarnation, n, bots, settlements)
        except psycopg.Error as error:
            if error.sqlstate != "OB001":
                raise
            worker.connection.rollback()
            worker.incarnation = None
            return Claim([], self.clock.at, 0.0, []), None
        judge = self._judge(worker.connection)
        for lane in answer.lanes:
            judge.sends(lane)
            assert self.clock.at <= lane.slot_at <= self.clock.at + HORIZON
        assert len({(lane.bot, lane.chat_id) for lane in answer.lanes}) == len(answer.lanes) <= n
        return answer, judge

    def _judge(self, connection: psycopg.Connection[Any]) -> Judge:
        return Judge(self.messages, self.stops, self.gone, look(connection), self.clock.at)

    def _follow(self, judge: Judge | None) -> None:
        """What was judged is committed."""
        if judge is None:
            return
        for message_id, status in judge.ended.items():
            self.messages[message_id].status = status
            self.world.happened[f"ended {status}"] += 1
        for message_id, place in judge.moved.items():
            self.messages[message_id].place = place
            self.world.happened["moved"] += 1
        for message_id in judge.followed:
            self.messages[message_id].chat_id = SUPERGROUP
            self.world.happened["followed its chat"] += 1

    def _take(self, worker: Worker, answer: Claim, judge: Judge | None) -> None:
        self._follow(judge)
        worker.settlements = [s for s in worker.settlements if s["bot"] not in answer.settled]
        for lane in answer.lanes:
            key = (lane.bot, lane.chat_id)
            assert key not in self.flights, f"two in flight in chat {key}"
            assert worker.incarnation is not None
            uses = self.uses[lane.bot]
            assert lane.slot == len(uses) + 1, f"slot numbers have a gap or come twice: {lane.slot}, {len(uses)} before"
            uses.append(Use(lane.slot, lane.slot_at))
            self.flights[key] = Flight(lane, worker.incarnation, uses[-1])
            message = self.messages[lane.message_id]
            message.status = "sending"
            self.world.happened["followed"] += message.target_id is not None
            assert lane.slot_at >= self.may_send_at.get(key, lane.slot_at), f"{lane} passes its chat's interval or 429"
            recent = [
                at for at in self.group_sent_at.get(key, []) if at > lane.slot_at - timedelta(seconds=GROUP_WINDOW_S)
            ]
            assert len(recent) < GROUP_LIMIT, f"{lane} is one too many for its group"
            most = most_in_a_window(uses, 1.0, ROUND_TRIP_S)
            assert most <= RATE[lane.bot], f"{most} may arrive in one window: {uses}"

    def _results(
        self, data: st.DataObject, worker: int, outcome: str, waited: float, retry_after_s: float | None
    ) -> list[Telling]:
        incarnation = self.workers[worker].incarnation
        held = [] if self.open_complete is None else [one.flight for one in self.open_complete[0]]
        own = [f for f in self.flights.values() if f.worker == incarnation and f not in held]
        if not own:
            return []
        chosen = data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=3, unique_by=id))
        again = [f for f in self.answered if f.worker == incarnation][-2:]
        repeated = [f.told for f in data.draw(st.sampled_from([[], again, again])) if f.told is not None]
        return repeated + [self._tell(f, outcome, waited, retry_after_s) for f in chosen]

    def _tell(self, flight: Flight, outcome: str, waited: float, retry_after_s: float | None) -> Telling:
        earliest = flight.lane.slot_at + timedelta(seconds=ROUND_TRIP_S)
        if self.clock.at < earliest:
            self.clock.set(earliest)
        answered_at = earliest + (self.clock.at - earliest) * (1 - waited)
        is_numbered = outcome == "sent" and self.messages[flight.lane.message_id].wish.is_numbered
        telegram_message_id = 1000 + flight.lane.message_id if is_numbered else None
        return Telling(flight, outcome, answered_at, retry_after_s if outcome == "wait" else None, telegram_message_id)

    def _seen(self) -> Seen:
        """What a call that begins now can see."""
        return Seen(set(self.messages), {message.id for message in self.messages.values() if message.is_asked})

    def _end_asked(self, lanes: set[Key], seen: Seen) -> None:
        """Whoever ends a flight ends what was cancelled in its lane meanwhile."""
        for message_id in seen.asked:
            message = self.messages[message_id]
            if message.status == "queued" and message.key in lanes:
                message.status = "cancelled"
                self.world.happened["cancelled behind a flight"] += 1

    def _apply(self, told: list[Telling], seen: Seen | None = None) -> None:
        """`seen`: what complete() could see; without, it was called just now."""
        seen = seen or self._seen()
        released = set()
        for one in told:
            flight, outcome = one.flight, one.outcome
            key = flight.lane.bot, flight.lane.chat_id
            message = self.messages[flight.lane.message_id]
            owned = self.flights.get(key) is flight
            repeated = flight.told is not None
            self.world.happened["repeated" if repeated else "completed" if owned else "late"] += 1
            if not repeated:
                flight.told = one
                self.answered.append(flight)
                self._note_answer(flight, outcome, one.answered_at)
            if owned:
                del self.flights[key]
                message.ends(outcome, one.telegram_message_id)
                released.add(key)
                if outcome == "migrated":
                    self._move(key, seen)
            elif outcome == "sent" and message.status in ("queued", "uncertain", "dead"):
                message.status, message.telegram_message_id = "sent", one.telegram_message_id
            elif outcome == "sent" and message.status == "sending":
                message.was_sent = True
            if owned or (outcome == "sent" and not repeated):
                self._note_deadlines(key, outcome, one.answered_at, one.retry_after_s)
        self._end_asked(released, seen)

    def _move(self, key: Key, seen: Seen) -> None:
        """A group has become a supergroup: what waits goes along."""
        self.gone.add(key)
        self.world.happened["migrated"] += 1
        for message_id in seen.ids:
            message = self.messages[message_id]
            if message.key == key and message.status == "queued":
                message.chat_id = SUPERGROUP

    def _flying_again(self, ended: list[Flight]) -> list[Flight]:
        """Of these those whose messages are in flight anew, if any: there a late answer does the most harm."""
        flying = {flight.lane.message_id for flight in self.flights.values()}
        return [flight for flight in ended if flight.lane.message_id in flying] or ended[-8:]

    def _may_have_to_wait(self, flight: Flight) -> bool:
        """A late answer for what has moved: complete() comes to the new lane out of order, and asks for it in vain."""
        has_moved = self.messages[flight.lane.message_id].chat_id != flight.lane.chat_id
        return has_moved and (self.open_claim is not None or self.open_complete is not None)

    def _note_answer(self, flight: Flight, outcome: str, answered_at: datetime) -> None:
        flight.use.answered_at = answered_at
        flight.use.unsent = outcome == "unsent"
        for worker in self.workers:
            if worker.incarnation == flight.worker:
                worker.settlements.append(
                    {
                        "bot": flight.lane.bot,
                        "slot": flight.lane.slot,
                        "answered_at": answered_at,
                        "result": {"sent": "ok", "unsent": "unsent", "wait": "flood"}.get(outcome, "fail"),
                        "round_trip_s": None if outcome == "unsent" else ROUND_TRIP_S,
                    }
                )

    def _note_deadlines(self, key: Key, outcome: str, answered_at: datetime, retry_after_s: float | None) -> None:
        if outcome == "unsent":
            return
        waits = [answered_at + timedelta(seconds=CHAT_INTERVAL_S), self.may_send_at.get(key, answered_at)]
        if retry_after_s is not None:
            waits.append(answered_at + timedelta(seconds=retry_after_s))
        self.may_send_at[key] = max(waits)
        if key[1][0] in "-@" and outcome in ("sent", "uncertain"):
            self.group_sent_at.setdefault(key, []).append(answered_at)

    def _release(self, ended: set[int]) -> None:
        released = set()
        for key, flight in list(self.flights.items()):
            if flight.worker in ended:
                del self.flights[key]
                self.lost.append(flight)
                self.messages[flight.lane.message_id].ends("uncertain")
                self._note_deadlines(key, "uncertain", self.clock.at, None)
                released.add(key)
        self._end_asked(released, self._seen())

    def _lane(self, flight: Flight) -> list[tuple[Any, ...]]:
        return self.world.judge.execute(
            "SELECT c.*, m.*, (SELECT count(*) FROM outbox.wakeup) FROM outbox.chat c"
            "  LEFT JOIN outbox.message m ON m.id = %s WHERE c.chat_id = %s AND c.bot = %s",
            [flight.lane.message_id, flight.lane.chat_id, flight.lane.bot],
        ).fetchall()

    def _call(self, call: Callable[..., Any], connection: psycopg.Connection[Any], *arguments: Any) -> Any:
        """Call as a session that gives up instead of waiting: None then."""
        try:
            return call(connection, *arguments)
        except psycopg.errors.LockNotAvailable:
            return None
