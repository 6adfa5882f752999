"""Applications: they insert and cancel in transactions of their own, which stay open, commit or roll back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.invariants.calls import cancel, insert
from tests.invariants.follow import Follower
from tests.invariants.model import Message, Stop
from tests.invariants.wishes import CancelWish, Wish
from tests.invariants.world import Producer


class Applications(Follower):
    """What producers do, and what the model makes of it once they commit."""

    def _begin(self, producer: Producer) -> None:
        if not producer.is_open:
            producer.connection.execute(f"BEGIN ISOLATION LEVEL {producer.isolation}")
            producer.is_open = True
            if producer.isolation != "READ COMMITTED":
                producer.connection.execute("SELECT")  # takes the snapshot
                producer.snapshot = self._live()

    def _live(self) -> set[int]:
        return {message.id for message in self.messages.values() if message.status in ("queued", "sending")}

    def _insert(self, producer: Producer, wishes: list[Wish]) -> None:
        self._begin(producer)
        for wish in wishes:
            due_at = self.clock.at + timedelta(seconds=wish.delay_s)
            expires_at = None if wish.expires_s is None else self.clock.at + timedelta(seconds=wish.expires_s)
            earlier = self.ids.setdefault((wish.bot, wish.chat_id), [])
            target_id = None if wish.target is None or not earlier else earlier[-1 - wish.target % len(earlier)]
            named: dict[str, Any] = {}
            if wish.correlation_id is not None:
                named["correlation_id"] = wish.correlation_id
            message_id = insert(
                producer.connection,
                wish.chat_id,
                bot=wish.bot,
                priority=wish.priority,
                next_attempt_at=due_at,
                expires_at=expires_at,
                on_uncertain=wish.on_uncertain,
                max_attempts=wish.max_attempts,
                collapse_key=wish.collapse_key,
                tag=wish.tag,
                target_id=target_id,
                **named,
            )
            earlier.append(message_id)
            producer.drafts.append(
                Message(message_id, wish, (wish.priority, due_at), expires_at, target_id, wish.chat_id)
            )

    def _cancel(self, producer: Producer, wish: CancelWish) -> None:
        self._begin(producer)
        seen = self._live() if producer.snapshot is None else producer.snapshot
        visible = [self.messages[i] for i in sorted(seen)] + producer.drafts
        of_bot = [message for message in visible if wish.bot in (None, message.wish.bot)]
        if wish.by == "tag":
            found = [message for message in of_bot if message.wish.tag == wish.tag]
            last_id = max((i for ids in self.ids.values() for i in ids), default=0)
            producer.stops.append(Stop(wish.tag, wish.bot, last_id))
            was_there = cancel(producer.connection, tag=wish.tag, bot=wish.bot)
        elif wish.by == "correlation_id":
            found = [message for message in of_bot if message.wish.correlation_id == wish.correlation_id]
            was_there = cancel(producer.connection, correlation_id=wish.correlation_id, bot=wish.bot)
        else:
            known = [*self.messages, *(draft.id for draft in producer.drafts)]
            message_id = sorted(known)[-1 - wish.nth % len(known)]
            found = [message for message in of_bot if message.id == message_id]
            was_there = cancel(producer.connection, message_id, bot=wish.bot)
        assert was_there == bool(found), f"{wish} said {was_there} of {found}"
        if wish.by != "tag":
            producer.asked |= {message.id for message in found}

    def _commit(self, producer: Producer) -> None:
        producer.connection.commit()
        self.messages |= {message.id: message for message in producer.drafts}
        for message_id in producer.asked:
            self.messages[message_id].is_asked = True
        self.stops += producer.stops
        producer.end()

    def _roll_back(self, producer: Producer) -> None:
        producer.connection.rollback()
        producer.end()
