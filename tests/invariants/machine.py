"""Random interleavings of producers, workers, crashes and time, beside a model of what must come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.invariants import checks
from tests.invariants.calls import Claim, Lane, Result, claim, complete, insert, register, result
from tests.invariants.frozen_clock import FrozenClock
from tests.invariants.pacing import Use, most_in_a_window

BOTS = ("a", "b")
RATE = {"a": 2, "b": 5}
CHAT_INTERVAL_S = 1.0
GROUP_LIMIT, GROUP_WINDOW_S = 2, 8.0
MAX_ATTEMPTS = 3
ROUND_TRIP_S = 0.02
HORIZON = timedelta(seconds=0.1)
CHATS = ("1", "2", "3", "-100", "@channel")
OUTCOMES = ("sent", "sent", "wait", "retry", "uncertain", "dead", "unsent")


@dataclass(frozen=True)
class Wish:
    """What a producer asks for."""

    bot: str
    chat_id: str
    priority: int
    delay_s: float
    expires_s: float | None
    on_uncertain: str
    max_attempts: int | None


WISHES = st.builds(
    Wish,
    bot=st.sampled_from(BOTS),
    chat_id=st.sampled_from(CHATS),
    priority=st.integers(0, 3),
    delay_s=st.sampled_from([0, 0, 0, 0, 0.05, 0.7, 4]),
    expires_s=st.sampled_from([None, None, None, None, 0.5, 6]),
    on_uncertain=st.sampled_from(["retry", "hold"]),
    max_attempts=st.sampled_from([None, None, 1, 2]),
)


@dataclass
class Message:
    """What the model knows of a message that was committed."""

    id: int
    wish: Wish
    next_attempt_at: datetime
    expires_at: datetime | None
    status: str = "queued"
    attempts: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.wish.bot, self.wish.chat_id

    def ends(self, outcome: str) -> None:
        """Follow what complete() makes of its owner's outcome."""
        self.attempts += outcome not in ("wait", "unsent")
        most = self.wish.max_attempts or MAX_ATTEMPTS
        if outcome in ("sent", "dead"):
            self.status = outcome
        elif outcome == "uncertain" and self.wish.on_uncertain == "hold":
            self.status = "uncertain"
        elif outcome in ("retry", "uncertain") and self.attempts >= most:
            self.status = "dead"
        else:
            self.status = "queued"


@dataclass(frozen=True)
class Telling:
    """What a worker says of a flight; told again, it keeps the time of its answer."""

    flight: Flight
    outcome: str
    answered_at: datetime
    retry_after_s: float | None = None

    def result(self, now: datetime) -> Result:
        age_s = (now - self.answered_at).total_seconds()
        return result(self.flight.lane, self.outcome, age_s=age_s, retry_after_s=self.retry_after_s)


@dataclass
class Flight:
    """A lane that a worker has, or had."""

    lane: Lane
    worker: int
    use: Use
    told: Telling | None = None


@dataclass
class Worker:
    """A process with one connection to claim by."""

    connection: psycopg.Connection[Any]
    incarnation: int | None = None
    settlements: list[dict[str, Any]] = field(default_factory=list)
    frozen: bool = False


class World:
    """The database and its sessions, used again by every example."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self.judge = connect()
        self.clock = FrozenClock(self.judge)
        self.start_at = self.clock.at
        self.producers = [connect() for _ in range(3)]
        self.claimers = [connect() for _ in range(2)]
        self.completing = connect()
        self.slow = connect()
        for connection in (*self.producers, *self.claimers, self.completing, self.slow):
            # One thread plays all sessions: a call that would wait for another session is given up instead.
            connection.execute("SET lock_timeout = '15ms'")

    def connections(self) -> Iterator[psycopg.Connection[Any]]:
        yield from (self.judge, *self.producers, *self.claimers, self.completing, self.slow)

    def reset(self) -> None:
        """An empty outbox with two bots; cheaper than a new database."""
        for connection in self.connections():
            connection.rollback()
            connection.execute("SELECT setseed(0.5)")
        for table in ("message", "wakeup", "chat", "attempt", "finished", "dead_letter", "worker", "bucket", "bot"):
            self.judge.execute(f"DELETE FROM outbox.{table}")
        self.judge.execute("ALTER SEQUENCE outbox.message_id_seq RESTART")
        self.clock.set(self.start_at)
        for bot in BOTS:
            self.judge.execute(
                "INSERT INTO outbox.bot (bot, rate, rate_window_s, chat_interval_s, group_limit, group_window_s,"
                " backoff_initial_s, backoff_max_s, max_attempts) VALUES (%s, %s, 1, %s, %s, %s, 1, 3, %s)",
                [bot, RATE[bot], CHAT_INTERVAL_S, GROUP_LIMIT, GROUP_WINDOW_S, MAX_ATTEMPTS],
            )
        # 100 answers were seen, so that the ring reckons with a round trip.
        self.judge.execute(
            "UPDATE outbox.bucket SET round_trip_s = ARRAY[%s, NULL]::float8[], round_trip_answers = '{100,0}',"
            " round_trip_since = outbox.clock()",
            [ROUND_TRIP_S],
        )

    def close(self) -> None:
        for connection in self.connections():
            connection.close()


class Machine(RuleBasedStateMachine):
    """One example: the rules are what sessions may do, the invariants what must hold after each."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.reset()
        self.clock = world.clock
        self.workers = [Worker(connection) for connection in world.claimers]
        self.drafts: list[list[Message]] = [[] for _ in world.producers]
        self.messages: dict[int, Message] = {}
        self.flights: dict[tuple[str, str], Flight] = {}  # as the database should see them
        self.lost: list[Flight] = []  # reaped: their workers may still answer
        self.answered: list[Flight] = []  # whose results may come again
        self.uses: dict[str, list[Use]] = {bot: [] for bot in BOTS}
        self.may_send_at: dict[tuple[str, str], datetime] = {}
        self.group_sent_at: dict[tuple[str, str], list[datetime]] = {}
        self.deadlines: dict[tuple[str, str], list[datetime | None]] = {}
        self.open_claim: tuple[Worker, Claim] | None = None
        self.open_complete: list[Telling] | None = None

    # Producers

    @initialize(wishes=st.lists(WISHES, min_size=4, max_size=12))
    def start_with_a_backlog(self, wishes: list[Wish]) -> None:
        self.insert_messages(0, wishes)
        self.commit(0)

    @rule(producer=st.integers(0, 2), wishes=st.lists(WISHES, min_size=1, max_size=4), committed=st.booleans())
    def write(self, producer: int, wishes: list[Wish], committed: bool) -> None:
        """Insert into this producer's transaction, which stays open or commits."""
        self.insert_messages(producer, wishes)
        if committed:
            self.commit(producer)

    def insert_messages(self, producer: int, wishes: list[Wish]) -> None:
        connection = self.world.producers[producer]
        if not self.drafts[producer]:
            connection.execute("BEGIN")
        for wish in wishes:
            due_at = self.clock.at + timedelta(seconds=wish.delay_s)
            expires_at = None if wish.expires_s is None else self.clock.at + timedelta(seconds=wish.expires_s)
            message_id = insert(
                connection,
                wish.chat_id,
                bot=wish.bot,
                priority=wish.priority,
                next_attempt_at=due_at,
                expires_at=expires_at,
                on_uncertain=wish.on_uncertain,
                max_attempts=wish.max_attempts,
            )
            self.drafts[producer].append(Message(message_id, wish, due_at, expires_at))

    @precondition(lambda self: any(self.drafts))
    @rule(producer=st.integers(0, 2))
    def commit(self, producer: int) -> None:
        self.world.producers[producer].commit()
        self.messages |= {message.id: message for message in self.drafts[producer]}
        self.drafts[producer] = []

    @precondition(lambda self: any(self.drafts))
    @rule(producer=st.integers(0, 2))
    def roll_back(self, producer: int) -> None:
        self.world.producers[producer].rollback()
        self.drafts[producer] = []

    # Workers

    @rule(worker=st.integers(0, 1), n=st.integers(1, 6), bots=st.sampled_from([BOTS, BOTS, ("a",), ("b",)]))
    def claim_now(self, worker: int, n: int, bots: tuple[str, ...]) -> None:
        chosen = self.workers[worker]
        if self.open_claim is None or self.open_claim[0] is not chosen:
            self._take(chosen, self._claim(chosen, n, bots))

    @precondition(lambda self: self.open_claim is None)
    @rule(worker=st.integers(0, 1), n=st.integers(1, 6))
    def begin_claim(self, worker: int, n: int) -> None:
        chosen = self.workers[worker]
        self._register(chosen)
        chosen.connection.execute("BEGIN")
        self.open_claim = chosen, self._claim(chosen, n, BOTS)

    @precondition(lambda self: self.open_claim is not None)
    @rule(committed=st.sampled_from([True, True, False]))
    def end_claim(self, committed: bool) -> None:
        assert self.open_claim is not None
        worker, answer = self.open_claim
        self.open_claim = None
        if committed:
            worker.connection.commit()
            self._take(worker, answer)
        else:
            worker.connection.rollback()

    @precondition(lambda self: self.flights)
    @rule(
        data=st.data(),
        worker=st.integers(0, 1),
        outcome=st.sampled_from(OUTCOMES),
        waited=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
        retry_after_s=st.sampled_from([None, 0.5, 5]),
    )
    def complete_flights(
        self, data: st.DataObject, worker: int, outcome: str, waited: float, retry_after_s: float | None
    ) -> None:
        """Some of a worker's flights end; of results that it told before, some come again."""
        told = self._results(data, worker, outcome, waited, retry_after_s)
        if (
            told
            and self._call(
                complete, self.world.completing, told[0].flight.worker, [one.result(self.clock.at) for one in told]
            )
            is not None
        ):
            self._apply(told)

    @precondition(lambda self: self.open_complete is None and self.flights)
    @rule(data=st.data(), worker=st.integers(0, 1), outcome=st.sampled_from(OUTCOMES))
    def begin_complete(self, data: st.DataObject, worker: int, outcome: str) -> None:
        told = self._results(data, worker, outcome, 0.0, None)
        if not told:
            return
        self.world.slow.execute("BEGIN")
        if (
            self._call(complete, self.world.slow, told[0].flight.worker, [one.result(self.clock.at) for one in told])
            is None
        ):
            self.world.slow.rollback()
        else:
            self.open_complete = told

    @precondition(lambda self: self.open_complete is not None)
    @rule(committed=st.sampled_from([True, True, False]))
    def end_complete(self, committed: bool) -> None:
        assert self.open_complete is not None
        told, self.open_complete = self.open_complete, None
        if committed:
            self.world.slow.commit()
            self._apply(told)
        else:
            self.world.slow.rollback()

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def answer_late(self, data: st.DataObject, outcome: str) -> None:
        """A worker that was reaped still tells how its call ended."""
        flight = data.draw(st.sampled_from(self.lost))
        told = self._tell(flight, outcome, 0.0, 5)
        lane_before = self._lane(flight)
        if self._call(complete, self.world.completing, flight.worker, [told.result(self.clock.at)]) is None:
            return
        if outcome != "sent":
            assert self._lane(flight) == lane_before, "a late result that is not sent changed the lane"
        self.lost.remove(flight)
        self._apply([told])

    @precondition(lambda self: self.flights)
    @rule(worker=st.integers(0, 1))
    def die(self, worker: int) -> None:
        """From now on no heartbeat: the lease runs out."""
        self.workers[worker].frozen = True

    @precondition(lambda self: any(worker.frozen for worker in self.workers))
    @rule()
    def reap(self) -> None:
        if self._call(lambda c: c.execute("SELECT outbox.reap()"), self.world.completing) is None:
            return
        rows = self.world.judge.execute("SELECT id FROM outbox.worker WHERE ended_at IS NOT NULL").fetchall()
        self._release({row[0] for row in rows})

    @precondition(lambda self: self.flights or self.open_claim)
    @rule(worker=st.integers(0, 1))
    def leave(self, worker: int) -> None:
        incarnation = self.workers[worker].incarnation
        if incarnation is None:
            return
        if self._call(lambda c: c.execute("SELECT outbox.leave(%s)", [incarnation]), self.world.completing) is not None:
            self.workers[worker].incarnation = None
            self._release({incarnation})

    # Time, and those who keep house

    @rule(seconds=st.sampled_from([0.005, 0.03, 0.1, 0.1, 0.3, 1.0, 1.0, 2.5, 9.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for worker in self.workers:
            if worker.incarnation is not None and not worker.frozen:
                self.world.judge.execute("SELECT outbox.heartbeat(%s, false)", [worker.incarnation])

    @rule()
    def repair(self) -> None:
        row = self.world.judge.execute("SELECT outbox.repair()").fetchone()
        assert row == (0,), f"repair found {row} lanes without a wakeup"

    # What must hold

    @invariant()
    def everything_holds(self) -> None:
        self.nothing_is_broken()
        self.every_message_is_where_the_model_says()
        self.every_flight_is_where_the_model_says()
        self.no_deadline_moves_earlier()

    def nothing_is_broken(self) -> None:
        assert not checks.broken(self.world.judge)

    def every_message_is_where_the_model_says(self) -> None:
        found = dict(self.world.judge.execute("SELECT id, status FROM outbox.history").fetchall())
        for message in self.messages.values():
            if found.get(message.id) == "expired" and message.status == "queued" and message.expires_at is not None:
                assert message.expires_at <= self.clock.at, f"message {message.id} ended before it expired"
                message.status = "expired"
        assert found == {message.id: message.status for message in self.messages.values()}
        spent = dict(self.world.judge.execute("SELECT id, attempts FROM outbox.message").fetchall())
        assert spent == {m.id: m.attempts for m in self.messages.values() if m.status in ("queued", "sending")}

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

    def teardown(self) -> None:
        """Whatever happened, everything left is delivered in the end: no lane is forgotten."""
        try:
            self._drain()
        finally:
            for connection in self.world.connections():
                connection.rollback()

    def _drain(self) -> None:
        for producer in range(len(self.drafts)):
            self.commit(producer)
        if self.open_claim is not None:
            self.end_claim(True)
        if self.open_complete is not None:
            self.end_complete(True)
        for worker in self.workers:
            worker.frozen = True
        self.clock.advance(21)
        self.reap()
        worker = self.workers[0]
        worker.frozen = False
        for _ in range(200):
            if not any(message.status in ("queued", "sending") for message in self.messages.values()):
                return
            answer = self._claim(worker, 10, BOTS)
            self._take(worker, answer)
            told = [self._tell(f, "sent", 0.0, None) for f in list(self.flights.values())]
            if told:
                complete(self.world.completing, told[0].flight.worker, [one.result(self.clock.at) for one in told])
                self._apply(told)
            self.every_message_is_where_the_model_says()
            self.let_time_pass(min(max(answer.ask_again_s or 1.0, 0.4), 2.0))
        raise AssertionError(f"never sent: {[m for m in self.messages.values() if m.status in ('queued', 'sending')]}")

    # How the model follows

    def _register(self, worker: Worker) -> int:
        if worker.incarnation is None or worker.frozen:
            worker.incarnation = register(worker.connection, *BOTS)
            worker.frozen = False
        return worker.incarnation

    def _claim(self, worker: Worker, n: int, bots: tuple[str, ...]) -> Claim:
        incarnation = self._register(worker)
        heads = self._heads()
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
            return Claim([], self.clock.at, 0.0, [])
        for lane in answer.lanes:
            assert lane.message_id == heads.get((lane.bot, lane.chat_id)), f"{lane} is not the head of its lane"
            assert self.clock.at <= lane.slot_at <= self.clock.at + HORIZON
        assert len({(lane.bot, lane.chat_id) for lane in answer.lanes}) == len(answer.lanes) <= n
        return answer

    def _heads(self) -> dict[tuple[str, str], int]:
        """The first of each lane by (priority, next_attempt_at, id), of what is due and has not expired."""
        heads: dict[tuple[str, str], int] = {}
        now = self.clock.at
        for message in sorted(self.messages.values(), key=lambda m: (m.wish.priority, m.next_attempt_at, m.id)):
            expired = message.expires_at is not None and message.expires_at <= now
            if message.status == "queued" and message.next_attempt_at <= now and not expired:
                heads.setdefault(message.key, message.id)
        return heads

    def _take(self, worker: Worker, answer: Claim) -> None:
        worker.settlements = [s for s in worker.settlements if s["bot"] not in answer.settled]
        for lane in answer.lanes:
            key = (lane.bot, lane.chat_id)
            assert key not in self.flights, f"two in flight in chat {key}"
            assert worker.incarnation is not None
            uses = self.uses[lane.bot]
            assert lane.slot == len(uses) + 1, f"slot numbers have a gap or come twice: {lane.slot}, {len(uses)} before"
            uses.append(Use(lane.slot, lane.slot_at))
            self.flights[key] = Flight(lane, worker.incarnation, uses[-1])
            self.messages[lane.message_id].status = "sending"
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
        held = [] if self.open_complete is None else [one.flight for one in self.open_complete]
        own = [f for f in self.flights.values() if f.worker == incarnation and f not in held]
        if not own:
            return []
        chosen = data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=3, unique_by=id))
        again = [f for f in self.answered if f.worker == incarnation][-2:]
        repeated = [f.told for f in data.draw(st.sampled_from([[], [], again])) if f.told is not None]
        return repeated + [self._tell(f, outcome, waited, retry_after_s) for f in chosen]

    def _tell(self, flight: Flight, outcome: str, waited: float, retry_after_s: float | None) -> Telling:
        earliest = flight.lane.slot_at + timedelta(seconds=ROUND_TRIP_S)
        if self.clock.at < earliest:
            self.clock.set(earliest)
        answered_at = earliest + (self.clock.at - earliest) * (1 - waited)
        return Telling(flight, outcome, answered_at, retry_after_s if outcome == "wait" else None)

    def _apply(self, told: list[Telling]) -> None:
        for one in told:
            flight, outcome = one.flight, one.outcome
            key = flight.lane.bot, flight.lane.chat_id
            message = self.messages[flight.lane.message_id]
            owned = self.flights.get(key) is flight
            if flight.told is None:
                flight.told = one
                self.answered.append(flight)
                self._note_answer(flight, outcome, one.answered_at)
            if owned:
                del self.flights[key]
                message.ends(outcome)
            elif outcome == "sent" and message.status in ("queued", "uncertain"):
                message.status = "sent"
            if owned or outcome == "sent":
                self._note_deadlines(key, outcome, one.answered_at, one.retry_after_s)

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

    def _note_deadlines(
        self, key: tuple[str, str], outcome: str, answered_at: datetime, retry_after_s: float | None
    ) -> None:
        if outcome == "unsent":
            return
        waits = [answered_at + timedelta(seconds=CHAT_INTERVAL_S), self.may_send_at.get(key, answered_at)]
        if retry_after_s is not None:
            waits.append(answered_at + timedelta(seconds=retry_after_s))
        self.may_send_at[key] = max(waits)
        if key[1][0] in "-@" and outcome in ("sent", "uncertain"):
            self.group_sent_at.setdefault(key, []).append(answered_at)

    def _release(self, ended: set[int]) -> None:
        for key, flight in list(self.flights.items()):
            if flight.worker in ended:
                del self.flights[key]
                self.lost.append(flight)
                self.messages[flight.lane.message_id].ends("uncertain")
                self._note_deadlines(key, "uncertain", self.clock.at, None)

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
