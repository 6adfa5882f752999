"""A bot's limits in memory, for the time without a database: the ring of sql/3_pace, in one process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

ARRIVAL_BOUND_S = 1.0  # A of DESIGN section 4: a request arrives no later than this after its slot
REMEMBERED_CHATS = 10_000  # beyond that, those which may send are forgotten


def is_group(chat_id: str) -> bool:
    """Whether the group limit is the chat's: groups, channels and whatever a @name stands for."""
    return chat_id[:1] in ("-", "@")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a bot may send. None: unlimited. The defaults are Telegram's."""

    rate: int | None = 30
    rate_window_s: float = 1.0
    chat_interval_s: float = 1.0
    group_limit: int | None = 20
    group_window_s: float = 60.0

    def scaled(self, share: float) -> Limits:
        """Return the part of them that one of several processes may use."""
        return Limits(
            None if self.rate is None else max(1, int(self.rate * share)),
            self.rate_window_s,
            self.chat_interval_s / share,
            None if self.group_limit is None else max(1, int(self.group_limit * share)),
            self.group_window_s,
        )


@dataclass(slots=True)
class _Lane:
    next_s: float
    sent_s: deque[float] = field(default_factory=deque)


class LocalLimits:
    """Gives slots and takes answers; decides only, never waits. Times are seconds of one clock of the caller's."""

    def __init__(self, limits: Limits, quiet_until_s: float) -> None:
        """Nothing goes before `quiet_until_s`: what was sent by then counts, and nobody here knows how much it was."""
        self._limits = limits
        self._quiet_until_s = quiet_until_s
        self._free_s = [quiet_until_s] * (limits.rate or 0)
        self._last_s = quiet_until_s
        self._lanes: dict[str, _Lane] = {}

    def take(self, chat_id: str, cost: int, now_s: float) -> tuple[float, list[int]] | float:
        """Return when to send and the tokens used; or only the time at which to ask again."""
        limits = self._limits
        lane = self._lane(chat_id, now_s)
        may_go_s = max(now_s, self._quiet_until_s, lane.next_s)
        limited_group = is_group(chat_id) and limits.group_limit is not None
        if limited_group:
            may_go_s = max(may_go_s, self._group_free_s(lane, cost, now_s))
        if may_go_s > now_s:
            return may_go_s
        due_s, tokens = now_s, []
        if limits.rate is not None:
            tokens = sorted(range(limits.rate), key=self._free_s.__getitem__)[: min(cost, limits.rate)]
            step_s = 0.95 * limits.rate_window_s / limits.rate
            due_s = max(now_s, self._free_s[tokens[-1]], self._last_s + step_s * len(tokens))
            if due_s > now_s + ARRIVAL_BOUND_S:
                return due_s - ARRIVAL_BOUND_S
            self._last_s = due_s
            for token in tokens:
                self._free_s[token] = due_s + limits.rate_window_s + ARRIVAL_BOUND_S
        lane.next_s = due_s + ARRIVAL_BOUND_S + limits.chat_interval_s
        if limited_group:
            lane.sent_s.extend([due_s + ARRIVAL_BOUND_S] * cost)
        return due_s, tokens

    def settle(
        self, chat_id: str, due_s: float, tokens: list[int], answered_s: float, wait_s: float, sent: bool
    ) -> None:
        """Take in how a slot of take() went: when it was answered, and for how long the chat must wait beyond that."""
        limits = self._limits
        answered_s = max(answered_s, due_s)
        for token in tokens:
            used_until_s = due_s + limits.rate_window_s + ARRIVAL_BOUND_S
            if self._free_s[token] == used_until_s:  # else given again meanwhile
                self._free_s[token] = min(used_until_s, answered_s + limits.rate_window_s + 0.0005) if sent else due_s
        lane = self._lanes.get(chat_id)
        if lane is None:
            return
        if lane.next_s == due_s + ARRIVAL_BOUND_S + limits.chat_interval_s:
            lane.next_s = answered_s + limits.chat_interval_s if sent else due_s
        lane.next_s = max(lane.next_s, answered_s + wait_s)
        lane.sent_s = deque(
            sorted(answered_s if at == due_s + ARRIVAL_BOUND_S else at for at in lane.sent_s)
            if sent
            else [at for at in lane.sent_s if at != due_s + ARRIVAL_BOUND_S]
        )

    def count(self, chat_id: str, cost: int, sent_s: float) -> None:
        """Let what was sent by then, before these limits were kept here, count for its chat and its group."""
        lane = self._lane(chat_id, sent_s)
        lane.next_s = max(lane.next_s, sent_s + self._limits.chat_interval_s)
        if is_group(chat_id) and self._limits.group_limit is not None:
            lane.sent_s = deque(sorted([*lane.sent_s, *[sent_s] * cost]))

    def block(self, chat_id: str, until_s: float, now_s: float) -> None:
        """Let nothing go to this chat before then: Telegram said so."""
        lane = self._lane(chat_id, now_s)
        lane.next_s = max(lane.next_s, until_s)

    def _group_free_s(self, lane: _Lane, cost: int, now_s: float) -> float:
        limit = self._limits.group_limit
        assert limit is not None
        while lane.sent_s and lane.sent_s[0] <= now_s - self._limits.group_window_s:
            lane.sent_s.popleft()
        too_many = len(lane.sent_s) + min(cost, limit) - limit
        return lane.sent_s[too_many - 1] + self._limits.group_window_s if too_many > 0 else now_s

    def _lane(self, chat_id: str, now_s: float) -> _Lane:
        if len(self._lanes) > REMEMBERED_CHATS:
            old_s = now_s - self._limits.group_window_s
            self._lanes = {
                chat: lane
                for chat, lane in self._lanes.items()
                if lane.next_s > now_s or (lane.sent_s and lane.sent_s[-1] > old_s)
            }
        return self._lanes.setdefault(chat_id, _Lane(self._quiet_until_s))
