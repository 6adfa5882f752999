"""What claim and sweep may do to messages that wait: each ending needs its reason, and so does each new place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.invariants.calls import Connection, Lane
from tests.invariants.model import SUPERGROUP, Key, Message, Place, Stop

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Found:
    """One row of history; of a message that waits, its place and its chat."""

    status: str
    error_class: str | None
    error_text: str | None
    attempts: int
    place: Place | None
    chat_id: str | None


def look(connection: Connection) -> dict[int, Found]:
    """What this session sees; within claim's transaction, what claim has done."""
    rows = connection.execute(
        "SELECT h.id, h.status, h.error_class, h.error_text, h.attempts, m.priority, m.next_attempt_at, m.chat_id"
        "  FROM outbox.history h LEFT JOIN outbox.message m ON m.id = h.id"
    ).fetchall()
    return {row[0]: Found(*row[1:5], None if row[5] is None else (row[5], row[6]), row[7]) for row in rows}  # type: ignore[call-arg]


@dataclass
class Judge:
    """Follows one call: what ended unsent or got another place by it, as far as that is right."""

    messages: Mapping[int, Message]
    stops: Sequence[Stop]
    gone: Collection[Key]  # lanes whose group has become a supergroup
    found: Mapping[int, Found]
    now: datetime
    ended: dict[int, str] = field(default_factory=dict)
    moved: dict[int, Place] = field(default_factory=dict)
    followed: set[int] = field(default_factory=set)  # went to the supergroup
    _superseded: dict[int, list[Place]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        # In order of the ids: what became of a target is known before its followers are looked at.
        waiting = [self.messages[i] for i in sorted(self.messages) if self.messages[i].status == "queued"]
        for message in waiting:
            assert message.id in self.found, f"message {message.id} has vanished"
            self._is_in_the_right_chat(message, self.found[message.id].chat_id)
        for message in waiting:
            row = self.found[message.id]
            if row.place is None:
                self._ends_for_a_reason(message, row)
                self.ended[message.id] = row.status
        for message in waiting:
            place = self.found[message.id].place
            if place is not None:
                self._has_a_right_place(message, place)

    def is_stopped(self, message: Message) -> bool:
        return any(stop.covers(message) for stop in self.stops)

    def is_cancelled(self, message: Message) -> bool:
        return message.is_asked or self.is_stopped(message)

    def target_state(self, message: Message) -> str | None:
        """What the contract calls the state of its target; None: it has none."""
        if message.target_id is None:
            return None
        target = self.messages.get(message.target_id)
        if target is None:
            return "missing"
        status = self.ended.get(target.id, target.status)
        if status == "sent":
            is_here = target.telegram_message_id is not None and target.key == self._key(message)
            return "sent" if is_here else "missing"
        return {"queued": "waits", "sending": "waits", "dead": "died", "uncertain": "died"}.get(status, "not_sent")

    def sends(self, lane: Lane) -> None:
        """Assert that this is what its lane sends now."""
        message = self.messages[lane.message_id]
        rivals = [
            other
            for other in self.messages.values()
            if self._key(other) == self._key(message)
            and other.status == "queued"
            and other.id not in self.ended
            and self._place(other)[1] <= self.now
            # What came to the lane by this call may have come after it was looked at.
            and (other is message or other.id not in self.followed)
        ]
        first = min(rivals, key=lambda other: (*self._place(other), other.id))
        assert message is first, f"{lane} goes before {first}"
        assert not message.has_expired(self.now), f"{message} has expired"
        assert not self.is_cancelled(message), f"{message} was cancelled before it was claimed"
        same = [other for other in rivals if other is not message and self._collapse(other, message)]
        assert same == [], f"{message} is sent beside {same} of its collapse key"
        assert self.target_state(message) in (None, "sent"), f"{message} goes before its target"
        if message.target_id is not None:
            telegram_message_id = self.messages[message.target_id].telegram_message_id
            assert lane.payload["reply_parameters"] == {"message_id": telegram_message_id}

    def _key(self, message: Message) -> Key:
        return (message.wish.bot, SUPERGROUP) if message.id in self.followed else message.key

    def _home(self, message: Message) -> Key:
        """Where it is now or was when it ended."""
        return (message.wish.bot, SUPERGROUP) if message.key in self.gone else message.key

    def _place(self, message: Message) -> Place:
        return self.moved.get(message.id, message.place)

    def _collapse(self, message: Message, other: Message) -> bool:
        """Whether one supersedes the other: same chat and key; of edits and answers, only those of one message."""
        return (
            self._home(message) == self._home(other)
            and message.wish.collapse_key is not None
            and (message.wish.collapse_key, message.target_id) == (other.wish.collapse_key, other.target_id)
        )

    def _ends_for_a_reason(self, message: Message, row: Found) -> None:
        text = f"message {message} ended as {row}"
        if row.status == "superseded":
            newest = self.messages[int(re.findall(r"^message (\d+) took its place$", row.error_text or "")[0])]
            rivals = [
                other
                for other in self.messages.values()
                if self._collapse(other, message)
                and other.status == "queued"
                and other.is_due(self.now)
                and not other.has_expired(self.now)
                and not self.is_cancelled(other)
            ]
            assert message.is_due(self.now), text
            assert newest in rivals, text
            # What came to the lane by this call may have come later.
            here = [other.id for other in rivals if other.key not in self.gone]
            assert newest.id >= max([message.id + 1, *here]), f"{text} of {rivals}"
            self._superseded[newest.id].append(message.place)
        elif row.error_class is not None and row.error_class.startswith("target_"):
            state = self.target_state(message)
            assert state not in ("waits", "sent"), text
            assert row.error_class == f"target_{state}", text
            assert row.status == ("discarded" if state == "not_sent" else "dead"), text
        else:
            reasons = {"expired": message.has_expired(self.now), "cancelled": self.is_cancelled(message)}
            assert row.error_class == row.status, text
            assert reasons.get(row.status), text

    def _has_a_right_place(self, message: Message, place: Place) -> None:
        base = message.place
        if message.id in self._superseded:
            first = min(self._superseded[message.id])
            base = min(base, (first[0], first[1] - MICROSECOND))
        right = [base]
        target = self.messages.get(message.target_id or 0)
        if target is not None and target.status == "queued":
            right += [
                (max(base[0], behind[0]), max(base[1], behind[1])) for behind in (target.place, self._place(target))
            ]
        assert place in right, f"{message} stands at {place}, not at {right}"
        if place != message.place:
            self.moved[message.id] = place

    def _is_in_the_right_chat(self, message: Message, chat_id: str | None) -> None:
        if chat_id not in (None, message.chat_id):
            assert message.key in self.gone, f"{message} is in chat {chat_id}"
            assert chat_id == SUPERGROUP, f"{message} is in chat {chat_id}"
            self.followed.add(message.id)
