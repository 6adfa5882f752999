"""True sliding windows: a call at t is refused when `limit` accepted ones lie in (t - window, t]."""

from collections import deque
from typing import Literal, NamedTuple

from outbox.simulator.config import Config

Limit = Literal["bot", "chat", "group"]


class Refusal(NamedTuple):
    limit: Limit
    wait_s: float
    """Until the call would fit if nothing else came."""


class SlidingWindow:
    """At most `limit` in any half-open span of `window_s` seconds; a limit of 0 is no limit."""

    __slots__ = ("_times", "limit", "window_s")

    def __init__(self, limit: int, window_s: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self._times: deque[float] = deque()

    def wait_s(self, now: float, cost: int) -> float | None:
        """None: `cost` places are free at `now`; else the seconds until they are (0.0 when rounding eats them).

        A cost above the limit asks for the whole window, for otherwise it could never pass.
        """
        if not self.limit:
            return None
        times = self._times
        start = now - self.window_s
        while times and times[0] <= start:
            times.popleft()
        missing = len(times) + min(cost, self.limit) - self.limit
        if missing <= 0:
            return None
        return times[missing - 1] + self.window_s - now

    def enter(self, now: float, cost: int) -> None:
        if self.limit:
            self._times.extend([now] * min(cost, self.limit))


class Windows:
    """Every window of every bot. Times are seconds of one monotonic clock and may not run backwards."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        self._bots: dict[str, SlidingWindow] = {}
        # One message per interval needs no deque: a million chats are a million floats.
        self._last_in_chat: dict[tuple[str, str], float] = {}
        self._groups: dict[tuple[str, str], SlidingWindow] = {}

    def judge(self, bot: str, chat: str | None, cost: int, now: float, rate: int | None = None) -> Refusal | None:
        """Enter the call in its windows, or say which limit refuses it longest; a refused call enters none.

        `cost` counts for the bot and the group; for the chat's interval an album is one call. `rate` is the bot's
        limit at this moment when it is not the configured one.
        """
        config = self._config
        of_bot = self._bots.get(bot)
        if of_bot is None:
            of_bot = self._bots[bot] = SlidingWindow(config.rate, config.rate_window_s)
        of_bot.limit = config.rate if rate is None else rate
        refusal: Refusal | None = None
        wait_s = of_bot.wait_s(now, cost)
        if wait_s is not None:
            refusal = Refusal("bot", wait_s)

        if chat is None:
            if refusal is None:
                of_bot.enter(now, cost)
            return refusal

        lane = (bot, chat)
        last = self._last_in_chat.get(lane)
        if last is not None and last > now - config.chat_interval_s:
            refusal = _longer(refusal, Refusal("chat", last + config.chat_interval_s - now))

        of_group: SlidingWindow | None = None
        if is_group(chat):
            of_group = self._groups.get(lane)
            if of_group is None:
                of_group = self._groups[lane] = SlidingWindow(config.group_limit, config.group_window_s)
            wait_s = of_group.wait_s(now, cost)
            if wait_s is not None:
                refusal = _longer(refusal, Refusal("group", wait_s))

        if refusal is None:
            of_bot.enter(now, cost)
            if config.chat_interval_s:
                self._last_in_chat[lane] = now
            if of_group is not None:
                of_group.enter(now, cost)
        return refusal


def is_group(chat: str) -> bool:
    """Groups, supergroups and channels: negative ids and @names."""
    return chat.startswith(("-", "@"))


def _longer(one: Refusal | None, other: Refusal) -> Refusal:
    return other if one is None or other.wait_s > one.wait_s else one
