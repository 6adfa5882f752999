"""Random interleavings of producers, workers, crashes and time, beside a model of what must come of them."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.invariants.calls import complete, sweep
from tests.invariants.model import GROUP, OUTCOMES
from tests.invariants.produce import Applications
from tests.invariants.wishes import BOTS, CANCEL_WISHES, WISHES, CancelWish, Wish


class Machine(Applications, RuleBasedStateMachine):
    """One example: the rules are what sessions may do, the invariants what must hold after each."""

    # Producers

    @initialize(wishes=st.lists(WISHES, min_size=4, max_size=12))
    def start_with_a_backlog(self, wishes: list[Wish]) -> None:
        self._insert(self.producers[0], wishes)
        self._commit(self.producers[0])

    @rule(producer=st.integers(0, 2), wishes=st.lists(WISHES, min_size=1, max_size=4), committed=st.booleans())
    def write(self, producer: int, wishes: list[Wish], committed: bool) -> None:
        """Insert into this producer's transaction, which stays open or commits."""
        self._insert(self.producers[producer], wishes)
        if committed:
            self._commit(self.producers[producer])

    @rule(producer=st.integers(0, 2), wish=CANCEL_WISHES, committed=st.booleans())
    def cancel(self, producer: int, wish: CancelWish, committed: bool) -> None:
        """Cancel in this producer's transaction, perhaps after inserts that are not committed yet."""
        self._cancel(self.producers[producer], wish)
        if committed:
            self._commit(self.producers[producer])

    @precondition(lambda self: any(producer.is_open for producer in self.producers))
    @rule(producer=st.integers(0, 2), committed=st.sampled_from([True, True, False]))
    def end_transaction(self, producer: int, committed: bool) -> None:
        if committed:
            self._commit(self.producers[producer])
        else:
            self._roll_back(self.producers[producer])

    # Workers

    # Twice, because a rule's weight is how often it stands here: most steps should carry messages on.
    @rule(worker=st.integers(0, 1))
    def claim_all(self, worker: int) -> None:
        self.claim_now(worker, 6, BOTS)

    @rule(worker=st.integers(0, 1), n=st.integers(1, 6), bots=st.sampled_from([BOTS, BOTS, ("a",), ("b",)]))
    def claim_now(self, worker: int, n: int, bots: tuple[str, ...]) -> None:
        chosen = self.workers[worker]
        if self.open_claim is None or self.open_claim[0] is not chosen:
            self._take(chosen, *self._claim(chosen, n, bots))

    @precondition(lambda self: self.open_claim is None)
    @rule(worker=st.integers(0, 1), n=st.integers(1, 6))
    def begin_claim(self, worker: int, n: int) -> None:
        chosen = self.workers[worker]
        self._register(chosen)
        chosen.connection.execute("BEGIN")
        self.open_claim = chosen, *self._claim(chosen, n, BOTS)

    @precondition(lambda self: self.open_claim is not None)
    @rule(committed=st.sampled_from([True, True, False]))
    def end_claim(self, committed: bool) -> None:
        assert self.open_claim is not None
        worker, answer, judge = self.open_claim
        self.open_claim = None
        if committed:
            worker.connection.commit()
            self._take(worker, answer, judge)
        else:
            worker.connection.rollback()

    # Twice, too: most flights should end by an answer.
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

    @precondition(lambda self: any(key[1] == GROUP for key in self.flights))
    @rule(data=st.data())
    def migrate(self, data: st.DataObject) -> None:
        """Telegram answers that a group has become a supergroup."""
        flight = data.draw(st.sampled_from([f for key, f in self.flights.items() if key[1] == GROUP]))
        if self.open_complete is None or flight not in [one.flight for one in self.open_complete[0]]:
            told = self._tell(flight, "migrated", 0.0, None)
            if self._call(complete, self.world.completing, flight.worker, [told.result(self.clock.at)]) is not None:
                self._apply([told])

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
            self.open_complete = told, self._seen()

    @precondition(lambda self: self.open_complete is not None)
    @rule(committed=st.sampled_from([True, True, False]))
    def end_complete(self, committed: bool) -> None:
        assert self.open_complete is not None
        (told, seen), self.open_complete = self.open_complete, None
        if committed:
            self.world.slow.commit()
            self._apply(told, seen)
        else:
            self.world.slow.rollback()

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def answer_late(self, data: st.DataObject, outcome: str) -> None:
        """A worker that was reaped still tells how its call ended."""
        flight = data.draw(st.sampled_from(self._flying_again(self.lost)))
        if self._may_have_to_wait(flight):
            return
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
        flight = data.draw(st.sampled_from(self._flying_again(self.answered)))
        if self._may_have_to_wait(flight):
            return
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
    def sweep(self) -> None:
        """Until nothing is left of what was cancelled, but for what others hold."""
        while (did := self._call(sweep, self.world.completing)) is not None:
            judge = self._judge(self.world.judge)
            assert not judge.moved
            assert set(judge.ended.values()) <= {"cancelled"}
            self._follow(judge)
            self.world.happened["swept"] += len(judge.ended)
            if did == 0 and self.open_claim is None and self.open_complete is None:
                left = [m for m in self.messages.values() if m.status == "queued" and m.key not in self.flights]
                assert [m for m in left if judge.is_cancelled(m)] == []
            if did == 0:
                break

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
        for producer in self.producers:
            self._commit(producer)
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
            answer, judge = self._claim(worker, 10, BOTS)
            self._take(worker, answer, judge)
            told = [self._tell(f, "sent", 0.0, None) for f in list(self.flights.values())]
            if told:
                complete(self.world.completing, told[0].flight.worker, [one.result(self.clock.at) for one in told])
                self._apply(told)
            self.every_message_is_where_the_model_says()
            self.let_time_pass(min(max(answer.ask_again_s or 1.0, 0.4), 2.0))
        raise AssertionError(f"never sent: {[m for m in self.messages.values() if m.status in ('queued', 'sending')]}")
