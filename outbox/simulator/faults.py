"""Faults on demand: rules that hit calls and make the server slow, wrong, silent or gone.

A rule is a JSON object, or a [[fault]] table of TOML, with `match` (which calls: match.py), the name of one `effect`
(which: effects.py) and the effect's own keys:

    {"match": {"chat": "42", "share": 0.1}, "effect": "flood", "retry_after_s": 35}

The first rule that matches hits: of those that act before the execution, and again of those that act after it, which
look only at calls that were executed. Rules without an effect are of the simple kind: simple.py.
"""

import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outbox.simulator.chats import Migrate
from outbox.simulator.effects import EFFECTS, Outage
from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.floods import Flood
from outbox.simulator.ledger import Call
from outbox.simulator.match import Match, parse_match
from outbox.simulator.moving_limit import MovingLimit
from outbox.simulator.simple import parse_simple
from outbox.simulator.stroke import AS_USUAL, Effect, Scene, Side, Stroke


@dataclass(slots=True)
class Rule:
    """One fault in force. `added_s` is on the simulator's clock."""

    match: Match
    effect: Effect
    name: str
    source: dict[str, Any] = field(repr=False)
    n: int = 0
    added_s: float = 0.0


class Faults:
    """The rules in force. `seed` decides what a share hits and every other draw."""

    def __init__(self, seed: int, clock: Callable[[], float]) -> None:
        self._seed = seed
        self._chance = random.Random(f"faults {seed}")
        self._clock = clock
        self._last_n = 0
        self.rules: list[Rule] = []
        self.moved: dict[str, str] = {}
        """Old id of every migrated chat, and its new one."""
        self.on_change: Callable[[], None] | None = None

    def add(self, rules: list[dict[str, Any]]) -> None:
        """Append rules, all or none. Raises BadRuleError."""
        parsed = [parse_rule(rule) for rule in rules]
        for rule in parsed:
            self._last_n += 1
            rule.n, rule.added_s = self._last_n, self._clock()
        self.rules += parsed
        self._changed()

    def clear(self) -> None:
        """Drop every rule and what its effect had begun: floods end, migrated chats are back."""
        self.rules.clear()
        self.moved.clear()
        self._changed()

    def renew(self) -> None:
        """Clear, and begin rule numbers and draws again."""
        self.clear()
        self._last_n = 0
        self._chance = random.Random(f"faults {self._seed}")

    def hit(self, side: Side, call: Call) -> Stroke:
        """What the first rule for that side that hits this call does to it; counts the hit and names it in the call."""
        if not self.rules:
            return AS_USUAL
        scene = Scene(self._clock(), self._chance)
        for rule in self.rules:
            effect = rule.effect
            if effect.side != side or not effect.takes_hits or not rule.match.names(call):
                continue
            if not effect.concerns(call):
                continue
            drawn = False
            if not effect.holds(call, scene.now_s):
                drawn = rule.match.draws(scene.now_s - rule.added_s, self._chance)
                if not drawn:
                    continue
            stroke = effect.strike(call, scene)
            if stroke is AS_USUAL:
                rule.match.hits -= drawn
                continue
            broken_by = f"fault {rule.n} {rule.name}"
            call.broken_by = broken_by if call.broken_by is None else f"{call.broken_by}, {broken_by}"
            if isinstance(effect, Migrate) and effect.old is not None:
                self.moved[effect.old] = effect.to
            return stroke
        return AS_USUAL

    def rate(self, bot: str) -> int | None:
        """The bot's limit by the first moving limit that is open for it; None: the usual one."""
        for rule in self.rules:
            if isinstance(rule.effect, MovingLimit) and rule.match.bot in (None, bot):
                age_s = self._clock() - rule.added_s
                if rule.match.is_open(age_s):
                    return rule.effect.limit(age_s, f"{self._seed} {rule.n} {bot}")
        return None

    def refuses_connections(self) -> tuple[bool, float | None]:
        """Whether the port is to be closed now, and in how many seconds that may change (None: never)."""
        now_s = self._clock()
        closed = False
        changes_s = []
        for rule in self.rules:
            if isinstance(rule.effect, Outage) and rule.effect.refuses:
                age_s = now_s - rule.added_s
                closed = closed or rule.match.is_open(age_s)
                ends_s = (rule.match.from_s, rule.match.until_s or 0.0)
                changes_s += [end_s - age_s for end_s in ends_s if end_s > age_s]
        return closed, min(changes_s, default=None)

    def as_json(self) -> list[dict[str, Any]]:
        """The rules as they were given, with number, hits and what the effect remembers."""
        return [{**rule.source, "n": rule.n, "hits": rule.match.hits, **rule.effect.as_json()} for rule in self.rules]

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


def parse_rule(source: Any) -> Rule:
    """Check a rule and fill in what it leaves out. Raises BadRuleError."""
    fields = Fields(source)
    given = fields.take("match")
    match = parse_match({} if given is None else given)
    if fields.has("effect"):
        name = fields.choice("effect", EFFECTS)
        effect = EFFECTS[name](fields)
        fields.finish()
    else:
        fields.take("effect")
        name = "simple"
        effect = parse_simple(fields)
    if isinstance(effect, Flood):
        effect.is_about_free_methods = match.methods is not None
    effect.check(match)
    return Rule(match, effect, name, source)


def read_toml(path: Path) -> list[dict[str, Any]]:
    """The [[fault]] tables of a file. Raises OSError, and BadRuleError for what is no such file."""
    try:
        document = tomllib.loads(path.read_text())
    except ValueError as error:
        raise BadRuleError(f"{path} is no TOML: {error}.") from error
    rules = document.pop("fault", [])
    if document:
        raise BadRuleError(f"{path} has the key {min(document)!r}. Write rules as [[fault]] tables.")
    if not isinstance(rules, list):
        raise BadRuleError(f"{path} has [fault]. Write [[fault]], with two brackets.")
    return rules
