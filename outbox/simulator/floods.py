"""Floods: announced waits that count down, grow with every call made inside them, and from one to the next."""

import math
from dataclasses import dataclass
from typing import Any

from outbox.simulator.answers import flood_answer
from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.ledger import Call
from outbox.simulator.stroke import Effect, Scene, Stroke

# Up to 12-14 hours are on record (tdlib/telegram-bot-api#535).
MOST_RETRY_AFTER_S = 86_400
# Longest sum of waits inside the server (tdlib/td NetQueryCreator.cpp; DialogActionManager.cpp for chat actions).
MOST_HOLD_S = 8
MOST_CHAT_ACTION_HOLD_S = 2
# What clocks lose by rounding: a rest of 34 s is not told as 35.
_ROUNDING_S = 1e-6


@dataclass(slots=True)
class Wait:
    """The flood of one chat or bot. Times are seconds of the simulator's clock."""

    until_s: float
    held_until_s: float
    announced_s: int
    level: int
    """Which step of the rule's waits the next flood takes."""


class Flood(Effect):
    """A matching call begins a wait for its chat (or bot); until its end every call there is refused, and counted."""

    def __init__(
        self,
        steps_s: tuple[int, ...],
        per_bot: bool,
        counts_down: bool,
        lengthen_s: float,
        factor: float,
        holds_first: bool,
        decay_s: float | None,
    ) -> None:
        self._steps_s = steps_s
        self._per_bot = per_bot
        self._counts_down = counts_down
        self._lengthen_s = lengthen_s
        self._factor = factor
        self._holds_first = holds_first
        self._decay_s = decay_s
        self._waits: dict[tuple[str, str | None], Wait] = {}
        self._inside = 0
        self.is_about_free_methods = False

    def concerns(self, call: Call) -> bool:
        # answerCallbackQuery and getMe know no floods; a rule that names such a method means it.
        if not (call.cost or self.is_about_free_methods):
            return False
        return self._per_bot or call.chat is not None

    def holds(self, call: Call, now_s: float) -> bool:
        wait = self._waits.get(self._key(call))
        return wait is not None and now_s < wait.until_s

    def strike(self, call: Call, scene: Scene) -> Stroke:
        now_s = scene.now_s
        key = self._key(call)
        wait = self._waits.get(key)
        if wait is None or wait.until_s <= now_s:
            return self._begin(call, key, wait, now_s)
        if now_s < wait.held_until_s:
            # Queued behind the first one in the server, it fails together with it (tdlib/td, query chains).
            return Stroke(hold_s=wait.held_until_s - now_s, answer=flood_answer(wait.announced_s))
        self._inside += 1
        rest_s = (wait.until_s - now_s) * self._factor + self._lengthen_s
        rest_s = min(rest_s, MOST_RETRY_AFTER_S)
        told_s = math.ceil(rest_s - _ROUNDING_S) if self._counts_down else wait.announced_s
        return self._refuse(call, wait, now_s, told_s, rest_s)

    def _begin(self, call: Call, key: tuple[str, str | None], last: Wait | None, now_s: float) -> Stroke:
        level = 0
        if last is not None:
            quiet_s = now_s - last.until_s
            level = max(0, last.level - int(quiet_s // self._decay_s)) if self._decay_s else last.level
        told_s = self._steps_s[min(level, len(self._steps_s) - 1)]
        wait = self._waits[key] = Wait(now_s, now_s, told_s, min(level + 1, len(self._steps_s)))
        return self._refuse(call, wait, now_s, told_s, told_s)

    def _refuse(self, call: Call, wait: Wait, now_s: float, told_s: int, rest_s: float) -> Stroke:
        hold_s = hold_before_429_s(call.method, told_s) if self._holds_first else 0
        wait.announced_s = told_s
        wait.held_until_s = now_s + hold_s
        # The wait counts from the answer, which comes after the hold.
        wait.until_s = now_s + hold_s + rest_s
        return Stroke(hold_s=hold_s, answer=flood_answer(told_s))

    def _key(self, call: Call) -> tuple[str, str | None]:
        return call.bot, None if self._per_bot else call.chat

    def as_json(self) -> dict[str, Any]:
        """`inside`: calls made inside an announced wait; a sender that obeys makes none."""
        return {"inside": self._inside}


def hold_before_429_s(method: str, retry_after_s: int) -> int:
    """Seconds that the server sleeps and tries again by itself before it gives a 429 of that wait away.

    It sleeps the wait as often as the sum stays within its limit: 3 s twice, 5 s once, 9 s never.
    """
    limit_s = MOST_CHAT_ACTION_HOLD_S if method.lower() == "sendchataction" else MOST_HOLD_S
    return limit_s // retry_after_s * retry_after_s


def parse_flood(fields: Fields) -> Effect:
    steps_s = fields.wholes("retry_after_s", 1, MOST_RETRY_AFTER_S)
    if steps_s is None:
        raise BadRuleError("a flood needs retry_after_s: seconds, or a list of them for one flood after the other.")
    return Flood(
        steps_s=steps_s,
        per_bot=fields.choice("scope", ("chat", "bot"), "chat") == "bot",
        counts_down=fields.flag("countdown", True),
        lengthen_s=fields.number("lengthen_s", 0.0),
        factor=fields.number("factor", 1.0, least=1.0),
        holds_first=fields.flag("hold", False),
        decay_s=fields.seconds("decay_s", least=1.0),
    )
