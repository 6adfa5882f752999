"""A limit of the bot that is hidden and moves: the windows refuse by it, and no answer tells it."""

import random
from typing import ClassVar

from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.match import Match
from outbox.simulator.stroke import Effect


class MovingLimit(Effect):
    """Another number of messages per window, drawn anew every so often; the same seed draws the same ones."""

    takes_hits: ClassVar[bool] = False

    def __init__(self, least: int, most: int, every_s: float) -> None:
        self._least = least
        self._most = most
        self._every_s = every_s

    def limit(self, age_s: float, seed: str) -> int:
        """The limit `age_s` after the rule was added."""
        step = int(age_s // self._every_s)
        return random.Random(f"{seed} {step}").randint(self._least, self._most)

    def check(self, match: Match) -> None:
        plain = Match(bot=match.bot, from_s=match.from_s, until_s=match.until_s)
        if match != plain:
            raise BadRuleError("a moving limit is of a bot. Match only bot, from_s and until_s.")


def parse_moving_limit(fields: Fields) -> Effect:
    ends = fields.wholes("between", 1, 100_000) or (20, 30)
    if len(ends) != 2 or ends[0] > ends[1]:
        raise BadRuleError(f"between is {list(ends)}. Give [least, most].")
    return MovingLimit(ends[0], ends[1], fields.number("every_s", 10.0, least=0.001))
