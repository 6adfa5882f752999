"""Faults on demand: rules that hit calls and make the server slow, wrong, silent or gone.

A rule is a JSON object; every key may be left out:

    {"match": {"bot": "123", "chat": "42", "method": "sendMessage", "share": 0.1, "count": 3},
     "when": "before" | "after",     not executed (default), or executed and then broken
     "delay_s": 8.0,                 wait on that side
     "status": 500, "error_code": 500, "description": "…", "retry_after": 5, "parameters": {…},
     "body": "<html>…",              this text instead of JSON
     "hang": true,                   never answer
     "reset": "before" | "after"}    reset the connection; sets "when"

A rule with only a delay slows a call that is otherwise judged as usual. The first rule that matches hits, of those
for "before" and again of those for "after"; one for "after" looks only at calls that the windows let pass.
"""

import random
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from outbox.simulator.ledger import Call

When = Literal["before", "after"]

_DESCRIPTIONS = {
    400: "Bad Request: chat not found",
    401: "Unauthorized",
    403: "Forbidden: bot was blocked by the user",
    404: "Not Found",
    409: "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    413: "Request Entity Too Large",
    429: "Too Many Requests: retry after {retry_after}",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_KEYS = {
    "match",
    "when",
    "delay_s",
    "status",
    "error_code",
    "description",
    "retry_after",
    "parameters",
    "body",
    "hang",
    "reset",
}
_MATCH_KEYS = {"bot", "chat", "method", "share", "count"}


class BadRuleError(ValueError):
    """A rule says something that cannot be done; the text says what and what to write instead."""


@dataclass(slots=True)
class Rule:
    """One fault, parsed; times in seconds."""

    when: When
    delay_s: float
    status: int | None
    error_code: int
    description: str
    parameters: dict[str, Any]
    body: str | None
    hang: bool
    reset: bool
    bot: str | None
    chat: str | None
    method: str | None
    share: float
    count: int | None
    source: dict[str, Any] = field(repr=False)
    hits: int = 0

    @property
    def ends_the_call(self) -> bool:
        """It takes the place of the answer; otherwise it only delays."""
        return self.status is not None or self.hang or self.reset

    def matches(self, call: Call) -> bool:
        return (
            (self.count is None or self.hits < self.count)
            and (self.bot is None or self.bot == call.bot)
            and (self.chat is None or self.chat == call.chat)
            and (self.method is None or self.method == call.method.lower())
        )


class Faults:
    """The rules in force. `seed` decides which calls a share hits."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"faults {seed}")
        self.rules: list[Rule] = []

    def add(self, rules: list[dict[str, Any]]) -> None:
        """Append rules, all or none. Raises BadRuleError."""
        self.rules += [parse_rule(rule) for rule in rules]

    def clear(self) -> None:
        self.rules.clear()

    def hit(self, when: When, call: Call) -> Rule | None:
        """The first rule for that side that hits this call; counts the hit."""
        for rule in self.rules:
            if rule.when != when or not rule.matches(call):
                continue
            if rule.share < 1 and self._random.random() >= rule.share:
                continue
            rule.hits += 1
            return rule
        return None

    def as_json(self) -> list[dict[str, Any]]:
        """The rules as they were given, with how often each hit."""
        return [{**rule.source, "hits": rule.hits} for rule in self.rules]


def parse_rule(source: Any) -> Rule:
    """Check a rule and fill in what it leaves out. Raises BadRuleError."""
    if not isinstance(source, dict):
        raise BadRuleError(f"a rule is a JSON object, not {type(source).__name__}.")
    match = source.get("match", {})
    if not isinstance(match, dict):
        raise BadRuleError("match is a JSON object with some of: " + ", ".join(sorted(_MATCH_KEYS)) + ".")
    _refuse_unknown("key", source, _KEYS)
    _refuse_unknown("match key", match, _MATCH_KEYS)
    for name, value in (("when", source.get("when")), ("reset", source.get("reset"))):
        if value not in (None, "before", "after"):
            raise BadRuleError(f'{name} is {value!r}. Use "before" or "after".')

    retry_after = source.get("retry_after")
    parameters = dict(source.get("parameters", {}))
    if retry_after is not None:
        parameters["retry_after"] = int(retry_after)
    status = source.get("status")
    if status is None and {"error_code", "description", "retry_after", "parameters", "body"} & source.keys():
        status = int(source.get("error_code") or (429 if retry_after is not None else 500))
    error_code = int(source.get("error_code") or status or 500)
    description = source.get("description") or _DESCRIPTIONS.get(error_code, f"Error {error_code}")
    rule = Rule(
        when=cast(When, source.get("reset") or source.get("when") or "before"),
        delay_s=float(source.get("delay_s", 0.0)),
        status=None if status is None else int(status),
        error_code=error_code,
        description=str(description).replace("{retry_after}", str(parameters.get("retry_after", 1))),
        parameters=parameters,
        body=source.get("body"),
        hang=bool(source.get("hang", False)),
        reset="reset" in source and source["reset"] is not None,
        bot=_text(match.get("bot")),
        chat=_text(match.get("chat"), lower=True),
        method=_text(match.get("method"), lower=True),
        share=float(match.get("share", 1.0)),
        count=None if match.get("count") is None else int(match["count"]),
        source=source,
    )
    if not (rule.ends_the_call or rule.delay_s > 0):
        raise BadRuleError("a rule needs something to do: status, delay_s, hang or reset.")
    return rule


def _refuse_unknown(what: str, given: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(given.keys() - known)
    if unknown:
        raise BadRuleError(f"unknown {what} {unknown[0]!r}. Use some of: {', '.join(sorted(known))}.")


def _text(value: Any, lower: bool = False) -> str | None:
    if value is None:
        return None
    return str(value).lower() if lower else str(value)
