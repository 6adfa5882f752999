"""The one checker: does the simulator's ledger agree with outbox.history and outbox.attempt, message by message?

It is asked at the end of a run, when no worker is left, and knows three stories of each message: what the producer
saw accepted, what the database tells, and what the simulator executed. A message is known by its text, which no other
message of the run may have.

What must hold of each message: it is in exactly one state (I8). What history calls sent was executed, and has the id
that the simulator gave it. It was executed no more often than its attempts explain: once for each that was answered
with success, at most once for each whose outcome is unknown. So each execution beyond the first has an attempt that
history calls uncertain; and none is beyond the first where on_uncertain is hold. Each call has its attempt, and each
status that an attempt reports was told. Within a chat the first executions came in the order (priority,
next_attempt_at, id) (I2).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

LIVE: Final = ("queued", "sending")
_WAITING: Final = """
    SELECT id, chat_id, payload ->> 'text', priority, next_attempt_at, on_uncertain FROM outbox.message ORDER BY id
"""
_STATES: Final = "SELECT id, status, chat_id, telegram_message_id FROM outbox.history"
_ATTEMPTS: Final = "SELECT message_id, attempt, outcome, http_status FROM outbox.attempt"


class Accepted(NamedTuple):
    """A message whose INSERT was committed, as it was then."""

    id: int
    chat_id: str
    text: str
    priority: int
    next_attempt_at: datetime
    on_uncertain: str


class State(NamedTuple):
    """A row of history."""

    status: str
    chat_id: str
    telegram_message_id: int | None


@dataclass(frozen=True)
class Agreement:
    """What came of a run; `findings` are sentences, and there are none where all agree."""

    findings: tuple[str, ...]
    states: Mapping[str, int]
    executed: int
    """Executions of accepted messages, the repeated ones included."""
    duplicates: int
    """Executions beyond the first of each message."""
    duplicates_held: int
    """Those of messages with on_uncertain = hold."""
    uncertain: int
    """Attempts whose outcome nobody knows or knew."""


def waiting(connection: psycopg.Connection[Any]) -> list[Accepted]:
    """Return what is in the queue now: before any worker runs, all that was accepted."""
    return [Accepted(*row) for row in connection.execute(_WAITING)]


def check(
    connection: psycopg.Connection[Any],
    log: Sequence[Mapping[str, Any]],
    accepted: Collection[Accepted],
    *,
    others: Collection[str] = (),
    waited: bool = True,
    out_of_turn: Collection[int] = (),
) -> Agreement:
    """Compare. `log` is the simulator's, of the whole run.

    `others` are texts that somebody else sent past the queue. `waited`: all was accepted before the first worker
    started, so the order holds across priorities too; else only within each. `out_of_turn` are ids that an operator put
    back later.
    """
    states: defaultdict[int, list[State]] = defaultdict(list)
    for message_id, *state in connection.execute(_STATES):
        states[message_id].append(State(*state))
    attempts: defaultdict[int, list[tuple[int, str, int | None]]] = defaultdict(list)
    for message_id, *attempt in connection.execute(_ATTEMPTS):
        attempts[message_id].append((attempt[0], attempt[1], attempt[2]))
    calls: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for call in log:
        if call["text"] is not None:
            calls[call["text"]].append(call)

    findings = list(_strangers(accepted, states, calls, others))
    for message in accepted:
        place = states.get(message.id, [])
        if len(place) != 1:
            findings.append(f"message {message.id} is in {len(place)} states, not in one")
            continue
        lives = _Lives(message, place[0], attempts.get(message.id, []), calls.get(message.text, []))
        findings += [f"message {message.id} ({place[0].status}): {what}" for what in lives.contradictions()]
    findings += _out_of_order(accepted, calls, waited, out_of_turn)

    times = {message.id: len(_executed(calls.get(message.text, []))) for message in accepted}
    held = {message.id for message in accepted if message.on_uncertain == "hold"}
    return Agreement(
        findings=tuple(findings),
        states=Counter(place[0].status for place in states.values()),
        executed=sum(times.values()),
        duplicates=sum(max(0, number - 1) for number in times.values()),
        duplicates_held=sum(max(0, times[message_id] - 1) for message_id in held),
        uncertain=sum(outcome == "uncertain" for rows in attempts.values() for _, outcome, _ in rows),
    )


@dataclass(frozen=True)
class _Lives:
    """The three stories of one message."""

    message: Accepted
    state: State
    attempts: Sequence[tuple[int, str, int | None]]
    calls: Sequence[Mapping[str, Any]]

    def contradictions(self) -> Iterator[str]:
        executed = _executed(self.calls)
        under_way = self.state.status == "sending"
        sent = {number for number, outcome, _ in self.attempts if outcome == "sent"}
        doubted = {number for number, outcome, _ in self.attempts if outcome == "uncertain"}

        if self.state.status == "sent":
            ids = {call["message_id"] for call in executed}
            if not executed:
                yield "never executed"
            elif self.state.telegram_message_id not in ids:
                yield f"history has Telegram's id {self.state.telegram_message_id}, the simulator gave {sorted(ids)}"
            if not sent:
                yield "no attempt was answered with success"
        if self.state.status == "uncertain" and not doubted:
            yield "no attempt is uncertain"
        if len(executed) < len(sent):
            yield f"{len(sent)} attempts were answered with success, {len(executed)} executed"
        if len(executed) > len(sent) + len(doubted - sent) + under_way:
            yield f"executed {len(executed)} times; {len(sent)} attempts sent, {len(doubted - sent)} uncertain"
        if len(executed) - 1 > len(doubted) + under_way:
            yield f"executed {len(executed)} times, but history calls only {len(doubted)} attempts uncertain"
        if self.message.on_uncertain == "hold" and len(executed) > 1:
            yield f"on_uncertain is hold, executed {len(executed)} times"

        known = {number for number, _, _ in self.attempts}
        if len(self.calls) > len(known) + under_way:
            yield f"{len(self.calls)} calls, {len(known)} attempts"
        reported = Counter(
            status for _, status in {(a, status) for a, _, status in self.attempts if status is not None}
        )
        told = Counter(call["status"] for call in self.calls)
        if surplus := reported - told:
            yield f"attempts report the status {dict(surplus)} that the simulator did not give"
        foreign = {str(call["chat"]) for call in self.calls} - {self.message.chat_id, self.state.chat_id}
        if foreign:
            yield f"sent to chat {sorted(foreign)}, not to {self.message.chat_id}"


def _executed(calls: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [call for call in calls if call["executed_at"] is not None]


def _strangers(
    accepted: Collection[Accepted],
    states: Mapping[int, list[State]],
    calls: Mapping[str, list[Mapping[str, Any]]],
    others: Collection[str],
) -> Iterator[str]:
    """What somebody tells of and nobody accepted; and the sum of I8."""
    texts = {message.text for message in accepted}
    if len(texts) < len(accepted):
        yield "two accepted messages have one text: this check cannot tell them apart"
    strangers = set(calls) - texts - set(others)
    if strangers:
        yield f"{len(strangers)} texts were sent that nobody inserted, such as {min(strangers)!r}"
    unknown = set(states) - {message.id for message in accepted}
    if unknown:
        yield f"history has {len(unknown)} messages that nobody inserted, such as {min(unknown)}"
    total = sum(len(place) for place in states.values())
    if total != len(accepted):
        yield f"{len(accepted)} messages were accepted, the states add up to {total} (I8)"


def _out_of_order(
    accepted: Collection[Accepted],
    calls: Mapping[str, list[Mapping[str, Any]]],
    waited: bool,
    out_of_turn: Collection[int],
) -> Iterator[str]:
    """A message keeps its place whatever happens to it, so only its first execution counts."""
    lanes: defaultdict[tuple[str, int], list[tuple[float, tuple[int, datetime, int]]]] = defaultdict(list)
    for message in accepted:
        executed = _executed(calls.get(message.text, []))
        if executed and message.id not in out_of_turn:
            first_at = min(call["executed_at"] for call in executed)
            turn = (message.priority, message.next_attempt_at, message.id)
            lanes[message.chat_id, -1 if waited else message.priority].append((first_at, turn))
    for (chat_id, _), lane in lanes.items():
        turns = [turn for _, turn in sorted(lane)]
        for earlier, later in itertools.pairwise(turns):
            if earlier > later:
                yield f"chat {chat_id}: message {earlier[2]} was sent before {later[2]}, whose turn it was"
                break
