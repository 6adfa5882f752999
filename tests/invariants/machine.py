"""Random interleavings of producers, workers, crashes and time, beside a model of what must come of them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.invariants.calls import complete, insert
from tests.invariants.follow import Follower
from tests.invariants.model import BOTS, OUTCOMES, WISHES, Message, Wish


class Machine(Follower, RuleBasedStateMachine):
    """One example: the rules are what sessions may do, the invariants what must hold after each."""

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

    # Twice, because a rule's weight is how often it stands here: most flights should end by an answer.
    @precondition(lambda self: self.flights)
    @rule(data=st.data(), worker=st.integers(0, 1), outcome=st.sampled_from(OUTCOMES))
    def complete_flights_at_once(self, data: st.DataObject, worker: int, outcome: str) -> None:
        self.complete_flights(data, worker, outcome, 0.0, 5)

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

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def tell_again(self, data: st.DataObject) -> None:
        """A batch whose answer was lost comes again, however much later; its worker may have been reaped since."""
        flight = data.draw(st.sampled_from(self.answered[-8:]))
        assert flight.told is not None
        owned = self._call(complete, self.world.completing, flight.worker, [flight.told.result(self.clock.at)])
        assert not owned, "a result was applied twice as its owner's"
        if owned is not None:
            self._apply([flight.told])

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
