"""Which calls a rule is about, and which of those it hits."""

import random
from dataclasses import dataclass

from outbox.simulator.fields import BadRuleError, Fields
from outbox.simulator.ledger import Call


@dataclass(slots=True)
class Match:
    """Names (bot, chats, methods) that a call must bear, and the draw among those that bear them.

    from_s and until_s count from the moment the rule was added.
    """

    bot: str | None = None
    chats: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    from_s: float = 0.0
    until_s: float | None = None
    skip: int = 0
    every: int = 1
    share: float = 1.0
    count: int | None = None
    seen: int = 0
    """Calls that bore the names inside the time window."""
    hits: int = 0

    def names(self, call: Call) -> bool:
        return (
            (self.bot is None or self.bot == call.bot)
            and (self.chats is None or call.chat in self.chats)
            and (self.methods is None or call.method.lower() in self.methods)
        )

    def is_open(self, age_s: float) -> bool:
        """Tell whether the time window is open, `age_s` after the rule was added."""
        return self.from_s <= age_s and (self.until_s is None or age_s < self.until_s)

    def draws(self, age_s: float, chance: random.Random) -> bool:
        """Decide for a call that bears the names, and count it."""
        if not self.is_open(age_s):
            return False
        self.seen += 1
        place = self.seen - self.skip
        if place <= 0 or place % self.every or (self.count is not None and self.hits >= self.count):
            return False
        if self.share < 1 and chance.random() >= self.share:
            return False
        self.hits += 1
        return True

    @property
    def is_about_time_only(self) -> bool:
        return self == Match(from_s=self.from_s, until_s=self.until_s, seen=self.seen, hits=self.hits)


def parse_match(source: object) -> Match:
    """Check the `match` of a rule. Raises BadRuleError."""
    if not isinstance(source, dict):
        raise BadRuleError("match is no JSON object. Give one with some of: bot, chat, chats, method, share, count ….")
    fields = Fields(source, "match key")
    if fields.has("chat") and fields.has("chats"):
        raise BadRuleError("match has both chat and chats. Use one of them.")
    one_chat = fields.identifiers("chat", lower=True)
    if one_chat is not None and len(one_chat) > 1:
        raise BadRuleError("chat is a list. Use chats for several.")
    match = Match(
        bot=fields.identifier("bot"),
        chats=fields.identifiers("chats", lower=True) or one_chat,
        methods=fields.identifiers("method", lower=True),
        from_s=fields.number("from_s", 0.0),
        until_s=fields.seconds("until_s"),
        skip=fields.whole("skip", 0) or 0,
        every=fields.whole("every", 1, least=1) or 1,
        share=fields.number("share", 1.0, most=1.0),
        count=fields.whole("count", least=1),
    )
    fields.finish()
    if match.until_s is not None and match.until_s <= match.from_s:
        raise BadRuleError(f"until_s is {match.until_s:g}, from_s {match.from_s:g}. The end comes after the beginning.")
    return match
