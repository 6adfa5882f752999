"""Updates: what users do, pushed by a test and fetched by the bot; offsets, long polls and webhooks as Telegram's."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from outbox.simulator.refusals import RefusedError
from outbox.simulator.values import flag, listed, within
from outbox.simulator.waiting import Sleep, wait_for_event

Json = dict[str, Any]

# tdlib/telegram-bot-api Client.h, LONG_POLL_MAX_TIMEOUT
LONGEST_POLL_S = 50
# Client.cpp, process_get_updates_query and fail_query_conflict: who asks again and again is held.
_HOLD_S = 3
# Client.cpp, get_update_type_name; the last three have to be asked for (Client.h, DEFAULT_ALLOWED_UPDATE_TYPES).
_ASKED_FOR = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
KINDS = _ASKED_FOR | {
    "message", "edited_message", "channel_post", "edited_channel_post", "inline_query", "chosen_inline_result",
    "callback_query", "shipping_query", "pre_checkout_query", "poll", "poll_answer", "my_chat_member",
    "chat_join_request", "chat_boost", "removed_chat_boost", "business_connection", "business_message",
    "edited_business_message", "deleted_business_messages", "purchased_paid_media", "managed_bot", "guest_message",
}  # fmt: skip
_BY_DEFAULT = frozenset(KINDS - _ASKED_FOR)

WEBHOOK_METHODS = frozenset({"setwebhook", "deletewebhook", "getwebhookinfo"})
_TWO_POLLS = "terminated by other getUpdates request; make sure that only one bot instance is running"
_WEBHOOK_CAME = "terminated by setWebhook request"
_WEBHOOK_IS_SET = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"


class BadUpdateError(ValueError):
    """What was pushed is no update; the text says what and what to write instead."""


@dataclass(slots=True)
class _Poll:
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    conflict: str | None = None

    def end(self, conflict: str | None = None) -> None:
        self.conflict = conflict
        self.ended.set()


@dataclass(slots=True)
class _Queue:
    """What waits for one bot, and how it fetches."""

    updates: list[Json] = field(default_factory=list)
    wanted: frozenset[str] = _BY_DEFAULT
    webhook: str = ""
    poll: _Poll | None = None
    held_offset: int | None = None
    held_until_s: float = 0.0
    next_conflict_s: float = 0.0

    def allow(self, parameters: Json) -> None:
        """Remember which kinds the bot wants; a call that does not say leaves it as it was."""
        named = listed(parameters.get("allowed_updates"))
        if named is not None:
            self.wanted = frozenset(KINDS & {str(kind).lower() for kind in named}) or _BY_DEFAULT

    def take(self, offset: int, limit: int) -> list[Json]:
        """The oldest from `offset` on; what came before is confirmed and forgotten, what is not wanted dropped."""
        if offset < 0:
            del self.updates[:offset]
        self.updates = [one for one in self.updates if one["update_id"] >= offset and not self.wanted.isdisjoint(one)]
        return self.updates[:limit]

    def drop_poll(self, conflict: str | None = None) -> None:
        if self.poll is not None:
            self.poll.end(conflict)
            self.poll = None


class Updates:
    """The queues of all bots. Ids grow from `first_id`, and `clear` does not start them again."""

    def __init__(self, first_id: int, clock: Callable[[], float], sleep: Sleep) -> None:
        self._next_id = first_id
        self._clock = clock
        self._sleep = sleep
        self._queues: dict[str, _Queue] = {}

    def push(self, bot: str, given: list[Any]) -> list[Json]:
        """Append updates, all or none, and wake the bot's long poll; returns them with their ids.

        Raises BadUpdateError.
        """
        for one in given:
            _check(one)
        queue = self._queue(bot)
        added = []
        for one in given:
            added.append({**one, "update_id": self._next_id})
            self._next_id += 1
        queue.updates += added
        if queue.poll is not None and any(not queue.wanted.isdisjoint(one) for one in added):
            queue.poll.end()
        return added

    def clear(self) -> None:
        """Forget updates, webhooks and what bots want; open polls end without an update."""
        for queue in self._queues.values():
            queue.drop_poll()
        self._queues.clear()

    async def fetch(self, bot: str, parameters: Json) -> list[Json]:
        """What getUpdates gives, at once or when the poll ends. Raises RefusedError, 409."""
        queue = self._queue(bot)
        if queue.webhook:
            await self._refuse(queue, _WEBHOOK_IS_SET)
        queue.allow(parameters)
        offset = within(parameters.get("offset"), 0, -(2**31), 2**31)
        limit = within(parameters.get("limit"), 100, 1, 100)
        timeout_s = within(parameters.get("timeout"), 0, 0, LONGEST_POLL_S)
        if offset == queue.held_offset and self._clock() < queue.held_until_s:
            timeout_s = max(timeout_s, _HOLD_S)
        found = queue.take(offset, limit)
        if not found and timeout_s:
            queue.drop_poll(_TWO_POLLS)
            poll = queue.poll = _Poll()
            await wait_for_event(poll.ended, self._sleep, timeout_s)
            if queue.poll is poll:
                queue.poll = None
            if poll.conflict is not None:
                await self._refuse(queue, poll.conflict)
            found = queue.take(offset, limit)
        if not found:
            queue.held_offset, queue.held_until_s = offset, self._clock() + _HOLD_S
        return found

    def answer(self, method: str, bot: str, parameters: Json) -> Any:
        """The result of one of WEBHOOK_METHODS. The simulator calls no webhook: it only keeps getUpdates away."""
        queue = self._queue(bot)
        if method == "getwebhookinfo":
            return _info(queue)
        queue.allow(parameters)
        queue.webhook = str(parameters.get("url", "")) if method == "setwebhook" else ""
        if queue.webhook:
            queue.drop_poll(_WEBHOOK_CAME)
        if flag(parameters.get("drop_pending_updates")):
            queue.updates.clear()
        return True

    def _queue(self, bot: str) -> _Queue:
        return self._queues.setdefault(bot, _Queue())

    async def _refuse(self, queue: _Queue, conflict: str) -> None:
        now_s = self._clock()
        if now_s < queue.next_conflict_s:
            await self._sleep(_HOLD_S)
        else:
            queue.next_conflict_s = now_s + _HOLD_S
        raise RefusedError(409, f"Conflict: {conflict}")


def _check(given: Any) -> None:
    if not isinstance(given, dict):
        raise BadUpdateError(f'an update is a JSON object like {{"message": {{…}}}}, not {type(given).__name__}.')
    kinds = [name for name in given if name != "update_id"]
    if len(kinds) != 1 or kinds[0] not in KINDS:
        raise BadUpdateError(f"an update has exactly one of {', '.join(sorted(KINDS))}; this one has {kinds}.")
    if not isinstance(given[kinds[0]], dict):
        raise BadUpdateError(f"{kinds[0]} is no JSON object. Write it as Telegram sends it.")


def _info(queue: _Queue) -> Json:
    info: Json = {
        "url": queue.webhook,
        "has_custom_certificate": False,
        "pending_update_count": len(queue.updates),
    }
    if queue.webhook:
        info |= {"max_connections": 40, "ip_address": "<unknown>"}
    if queue.wanted != _BY_DEFAULT:
        info["allowed_updates"] = sorted(queue.wanted)
    return info
