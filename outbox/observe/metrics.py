"""A worker's metrics: every name, unit, label and bucket, and what each of its events does to them.

Label values are bounded: bots, methods, error classes, priorities; never a chat, a correlation id or a text. The
correlation id of a recent message stands beside a bucket as its exemplar, in OpenMetrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from outbox.deliver import events
from outbox.observe.series import Cell, Cells, Counter, Gauge, Histogram, Series, collect
from outbox.redact import scrub

# A call: Telegram answers in 50 to 300 ms; a request is given up after 30 s.
CALL_BUCKETS_S: Final = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 30.0)
# A wait: from the horizon of a claim to the day after a broadcast.
WAIT_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
# The database: a claim takes 2 to 5 ms (docs/performance.md).
DATABASE_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)
LATE_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5)  # beyond it the slot is stale
BATCH_BUCKETS: Final = (0, 1, 2, 5, 10, 25, 50, 100, 250, 500)
METHODS_AT_MOST: Final = 100  # the column takes any name; Telegram has some 150 methods, a bot uses a few
PATHS_AT_MOST: Final = 10_000  # kept for speed: those beyond are looked up each time
EXEMPLAR_EVERY_S: Final = 1.0  # per histogram: a scrape reads one per bucket in 15 s, and each costs 5 µs
EXEMPLAR_LENGTH: Final = 100  # OpenMetrics: 128 characters, the label's name included

_OTHER: Final = "other"


class _Bot(NamedTuple):
    """What each message of a bot counts in."""

    claimed: Cell
    in_flight: Cell
    call: Cells
    late: Cells


class _Path(NamedTuple):
    """What a sent message counts in, by bot, method and priority."""

    bot: _Bot
    sent: Cell
    queue_wait: Cells
    end_to_end: Cells


class WorkerMetrics(Collector):
    """Listens to a worker's events; call it with each, or `count` many."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._methods: dict[str, str] = {}
        self._bots: dict[str, _Bot] = {}
        self._paths: dict[tuple[str, str, int], _Path] = {}
        self._slowest: dict[Cells, tuple[float, str]] = {}
        self.series: list[Series] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            self.series.append(made := Counter(f"outbox_{name}", text, labels))
            return made

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            self.series.append(made := Gauge(f"outbox_{name}", text, labels))
            return made

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            self.series.append(made := Histogram(f"outbox_{name}", text, buckets, labels))
            return made

        self.sent = counter(
            "messages_sent",
            "Messages that Telegram took. method: the first 100 that this process met, then other.",
            "bot",
            "method",
        )
        self.retried = counter(
            "messages_retried", "Calls that failed; the message comes again.", "bot", "method", "error_class"
        )
        self.dead = counter(
            "messages_dead",
            "Calls refused for good. What ran out of attempts counts in outbox_messages_ended_total.",
            *("bot", "method", "error_class"),
        )
        self.uncertain = counter(
            "messages_uncertain", "Calls of which nobody knows the outcome.", "bot", "method", "error_class"
        )
        self.floods = counter(
            "too_many_requests", "Calls answered by 429; scope: private or group chat, by its id.", "bot", "scope"
        )
        self.given_back = counter("slots_unused", "Claimed lanes that were not sent, by why.", "bot", "reason")
        self.claimed = counter("slots_given", "Lanes claimed by this worker.", "bot")
        self.settled = counter("slots_settled", "Answers told to the token bucket.")
        self.in_flight = gauge("in_flight_messages", "Messages claimed and not yet answered.", "bot")
        self.queue_wait = histogram(
            "queue_wait_seconds", "From when a message was due to its request.", WAIT_BUCKETS_S, "bot", "priority"
        )
        self.end_to_end = histogram(
            "end_to_end_seconds", "From when a message was due until it was sent.", WAIT_BUCKETS_S, "bot", "priority"
        )
        self.call = histogram("call_seconds", "Calls of the Bot API, whatever they answered.", CALL_BUCKETS_S, "bot")
        self.late = histogram("slot_late_seconds", "How long after its slot a request began.", LATE_BUCKETS_S, "bot")
        self.claim = histogram("claim_seconds", "Calls of outbox.claim.", DATABASE_BUCKETS_S)
        self.claim_lanes = histogram("claim_lanes", "Lanes given by a claim.", BATCH_BUCKETS)
        self.flush = histogram("flush_seconds", "Calls of outbox.complete.", DATABASE_BUCKETS_S)
        self.flush_results = histogram("flush_results", "Results brought by a flush.", BATCH_BUCKETS)
        self.database_failures = counter("database_failures", "Database calls that are tried again.", "call")
        self.leases = counter("leases_taken", "Leases of this worker; lost: the one before ran out.", "reason")
        self.reaped = counter("lanes_reaped", "Lanes of gone workers that this one released.")
        self.is_idle = gauge("worker_idle", "1: inserts ring this worker, 0: it polls.")
        self.bell = gauge("bell_works", "1: NOTIFY reaches this worker, 0: it polls (a transaction pooler).")
        self.token = gauge("token_accepted", "1: Telegram took the bot's token, 0: it refused it.", "bot")
        self.spool_full = counter("spool_full", "Times the spool was full: nothing is claimed then.")
        self.spool_failures = counter("spool_failures", "Writes to the spool that the disk refused.")
        self.is_idle.set(to=1)
        for reason in ("start", "lost"):
            self.leases.add(reason, by=0)
        self._claim, self._claim_lanes = self.claim.cells(), self.claim_lanes.cells()
        self._flush, self._flush_results = self.flush.cells(), self.flush_results.cells()
        self._settled = self.settled.cell()
        registry.register(self)

    def __call__(self, event: events.Event) -> None:
        self.count([event])

    def count(self, waiting: Iterable[events.Event]) -> int:
        """Count many events, in less time than one by one. Returns how many of them could not be counted."""
        faults = 0
        sent: dict[tuple[str, str, int], list[events.Sent]] = {}
        for event in waiting:
            try:
                if type(event) is events.Sent:
                    sent.setdefault((event.bot, event.method, event.priority), []).append(event)
                else:
                    self._take(event)
            except Exception:
                faults += 1
        faults += sum(map(self._bring, sent.values()))
        for cells, (value, correlation_id) in self._slowest.items():
            self._bring_exemplar(cells, value, correlation_id)
        self._slowest.clear()
        return faults

    def _bring(self, sent: list[events.Sent]) -> int:
        """Messages of one path. Returns how many of them could not be counted."""
        try:
            self._take_sent(sent)
        except Exception:
            if len(sent) > 1:
                return sum(self._bring([event]) for event in sent)
            # It has landed all the same: /readyz asks what is in flight.
            self.in_flight.add(sent[0].bot, by=-1)
            return 1
        return 0

    def _take_sent(self, sent: list[events.Sent]) -> None:
        first = sent[0]
        path = self._paths.get((first.bot, first.method, first.priority)) or self._path(first)
        # All that may fail comes first: what is no number counts nowhere.
        calls = [event.duration_s for event in sent]
        wholes = [event.since_due_s if event.since_due_s > 0.0 else 0.0 for event in sent]
        waits = [whole_s - call_s if whole_s > call_s else 0.0 for whole_s, call_s in zip(wholes, calls, strict=True)]
        late = [event.late_s if event.late_s > 0.0 else 0.0 for event in sent]
        longest_call_s, longest_s = max(calls), max(wholes)
        path.sent.value += len(sent)
        path.bot.in_flight.value -= len(sent)
        path.bot.late.observe_all(late)
        path.bot.call.observe_all(calls)
        path.queue_wait.observe_all(waits)
        path.end_to_end.observe_all(wholes)
        self._propose(path.bot.call, longest_call_s, sent[calls.index(longest_call_s)])
        self._propose(path.end_to_end, longest_s, sent[wholes.index(longest_s)])

    def _take(self, event: events.Event) -> None:
        match event:
            case events.Claimed():
                bot = self._bots.get(event.bot) or self._begin(event.bot)
                bot.claimed.value += 1.0
                bot.in_flight.value += 1.0
            case events.ClaimDone():
                self._claim.observe(event.duration_s)
                if event.wanted:
                    self._claim_lanes.observe(event.lanes)
                if event.settlements:
                    self._settled.value += event.settlements
            case events.Flushed():
                self._flush.observe(event.duration_s)
                self._flush_results.observe(event.results)
            case events.Waited():
                self._note_call(event)
                self.floods.add(event.bot, "group" if event.chat_id.startswith(("-", "@")) else "private")
            case events.Retried():
                self._note_failure(self.retried, event)
            case events.Uncertain():
                self._note_failure(self.uncertain, event)
            case events.Died():
                self._note_failure(self.dead, event)
            case events.Faulted():
                self.uncertain.add(event.bot, _OTHER, "worker_fault")
                self.in_flight.add(event.bot, by=-1)
            case events.GivenBack():
                self.given_back.add(event.bot, event.reason)
                self.in_flight.add(event.bot, by=-1)
            case events.DatabaseFailed():
                self.database_failures.add(event.call)
            case events.LeaseTaken():
                self.leases.add(event.reason)
            case events.Reaped():
                self.reaped.add(by=event.lanes)
            case events.MoodChanged():
                self.is_idle.set(to=event.idle)
            case events.BellTested():
                self.bell.set(to=event.works)
            case events.TokenChecked():
                if event.accepted is not None:
                    self.token.set(event.bot, to=event.accepted)
            case events.SpoolFull():
                self.spool_full.add()
            case events.SpoolFailed():
                self.spool_failures.add()
            case _:
                pass

    @property
    def now_in_flight(self) -> int:
        """Messages in flight, of all bots."""
        return int(self.in_flight.total())

    def collect(self) -> Iterator[Metric]:
        return collect(self.series)

    def describe(self) -> Iterable[Metric]:
        return []

    def _begin(self, bot: str) -> _Bot:
        # increase() does not see a series begin: the first 429 must be a step from 0.
        for scope in ("private", "group"):
            self.floods.cell(bot, scope)
        cells = self._bots[bot] = _Bot(
            self.claimed.cell(bot), self.in_flight.cell(bot), self.call.cells(bot), self.late.cells(bot)
        )
        return cells

    def _path(self, event: events.Sent) -> _Path:
        priority = str(event.priority)
        path = _Path(
            self._bots.get(event.bot) or self._begin(event.bot),
            self.sent.cell(event.bot, self._method(event.method)),
            self.queue_wait.cells(event.bot, priority),
            self.end_to_end.cells(event.bot, priority),
        )
        if len(self._paths) < PATHS_AT_MOST:
            self._paths[event.bot, event.method, event.priority] = path
        return path

    def _note_call(self, event: events.Answered) -> None:
        bot = self._bots.get(event.bot) or self._begin(event.bot)
        bot.in_flight.value -= 1.0
        bot.late.observe(max(0.0, event.late_s))
        bot.call.observe(event.duration_s)
        self._propose(bot.call, event.duration_s, event)

    def _note_failure(self, counter: Counter, event: events.Answered) -> None:
        self._note_call(event)
        counter.add(event.bot, self._method(event.method), event.error_class or _OTHER)

    def _propose(self, cells: Cells, value: float, event: events.Answered) -> None:
        """Of those counted together the slowest is a histogram's exemplar: the one that somebody will look for."""
        correlation_id = event.correlation_id
        if correlation_id is None or len(correlation_id) > EXEMPLAR_LENGTH:
            return
        best = self._slowest.get(cells)
        if best is None or value > best[0]:
            self._slowest[cells] = value, correlation_id

    def _bring_exemplar(self, cells: Cells, value: float, correlation_id: str) -> None:
        now = self._now()
        if now - cells.exemplar_at >= EXEMPLAR_EVERY_S:
            cells.exemplar_at = now
            cells.bring_exemplar(value, {"correlation_id": scrub(correlation_id)}, time.time())

    def _method(self, method: str) -> str:
        name = self._methods.get(method)
        if name is None:
            if len(self._methods) >= METHODS_AT_MOST:
                return _OTHER
            name = self._methods[method] = scrub(method)[:64]
        return name
