"""A line of the table of outcomes: which answers it is about, and what it says of them."""

import re
from dataclasses import dataclass
from typing import Literal

from outbox.deliver.answer import Said

Meaning = Literal[
    "sent", "benign_success", "wait", "retry", "uncertain", "dead", "chat_suppressed", "bot_level", "migrated", "unsent"
]
Reach = Literal["message", "chat", "bot"]
Ending = Literal["sent", "wait", "retry", "uncertain", "dead", "unsent"]


@dataclass(frozen=True, slots=True)
class Rule:
    meaning: Meaning
    reach: Reach
    error_class: str
    codes: frozenset[int]
    """Empty means any."""
    text: re.Pattern[str] | None
    methods: re.Pattern[str] | None
    """The methods of which this is true; of others a later rule decides."""
    far: re.Pattern[str] | None
    """The methods from which it reaches that far; from others it reaches the message only."""
    outcome: Ending | None
    """Only where the meaning alone does not say it."""

    def fits(self, method: str, said: Said) -> bool:
        return (
            (not self.codes or said.code in self.codes)
            and (self.methods is None or self.methods.match(method) is not None)
            and (self.text is None or self.text.search(said.words) is not None)
        )


def row(
    meaning: Meaning,
    reach: Reach,
    error_class: str,
    *codes: int,
    text: str | None = None,
    methods: re.Pattern[str] | None = None,
    far: re.Pattern[str] | None = None,
    outcome: Ending | None = None,
) -> Rule:
    """One line of the table: what an answer with one of these codes (none: any) and this text means."""
    pattern = re.compile(text, re.IGNORECASE) if text else None
    return Rule(meaning, reach, error_class, frozenset(codes), pattern, methods, far, outcome)


def methods_like(pattern: str) -> re.Pattern[str]:
    """Methods by the beginning of their name, in any case, as the Bot API takes them."""
    return re.compile(pattern, re.IGNORECASE)
