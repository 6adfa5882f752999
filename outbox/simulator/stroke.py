"""What a fault does to one call, and what an effect is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from outbox.simulator.answers import Answer, Body, damage
from outbox.simulator.ledger import Call
from outbox.simulator.match import Match

Side = Literal["before", "after"]
Ending = Literal["answer", "reset", "silence"]


@dataclass(frozen=True, slots=True)
class Stroke:
    """What becomes of one call. Left as it is, the call lives as usual."""

    delay_s: float = 0.0
    """Wait: of a stroke before the verdict it moves the arrival, of one after it the answer."""
    hold_s: float = 0.0
    """Wait between arrival and execution, or before the refusal."""
    answer: Answer | None = None
    """In place of the usual one."""
    ending: Ending = "answer"
    late_s: float | None = None
    """Executed so long after `answer` was given."""
    made: int | None = None
    """Execute only so many of the messages that the call asks for."""
    body: Body = "json"
    """Damage to whatever the answer is."""
    bytes_per_s: float | None = None

    @property
    def executes(self) -> bool:
        """The call is judged, and executed if the limits let it; else a stroke before the verdict ends it."""
        if self.ending != "answer":
            return False
        return self.answer is None or self.late_s is not None or bool(self.made)

    def finish(self, usual: Answer) -> Answer:
        """The answer that the client gets."""
        return damage(self.answer or usual, self.body)


AS_USUAL = Stroke()


@dataclass(slots=True)
class Scene:
    """The moment of a call, for an effect that decides by it."""

    now_s: float
    chance: random.Random


class Effect:
    """One named thing that goes wrong. Subclasses keep what they must remember between calls."""

    side: Side = "before"
    takes_hits: ClassVar[bool] = True
    """False: no call is hit by it; it changes the world instead."""

    def concerns(self, call: Call) -> bool:
        """Whether it can happen to such a call at all, beside what the rule's match says."""
        return True

    def holds(self, call: Call, now_s: float) -> bool:
        """Whether what it began still hits this call, whatever share, count and time window say."""
        return False

    def strike(self, call: Call, scene: Scene) -> Stroke:
        raise NotImplementedError

    def check(self, match: Match) -> None:
        """Raise BadRuleError when it makes no sense with that match."""

    def as_json(self) -> dict[str, Any]:
        """What it remembers, for GET /_sim/faults."""
        return {}


class Fixed(Effect):
    """An effect that does the same to every call."""

    def __init__(self, stroke: Stroke, side: Side = "before", concerns: Callable[[Call], bool] | None = None) -> None:
        self.side = side
        self._stroke = stroke
        self._concerns = concerns

    def concerns(self, call: Call) -> bool:
        return self._concerns is None or self._concerns(call)

    def strike(self, call: Call, scene: Scene) -> Stroke:
        return self._stroke
