"""Texts that came into a chat more than once: what a sender that repeats itself leaves behind."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from outbox.simulator.ledger import Call


def count_duplicates(calls: Iterable[Call], moved: Mapping[str, str]) -> int:
    """Messages beyond the first of each text, bot and chat. A migrated chat (old id to new in `moved`) is one chat.

    Sends without text or caption cannot be told apart and do not count; nor do edits.
    """
    times = Counter((call.bot, moved.get(chat, chat), call.text) for chat, call in _sends(calls))
    return sum(times.values()) - len(times)


def list_duplicates(calls: Iterable[Call], moved: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each text that came more than once, with the numbers of its calls, by first appearance."""
    numbers: defaultdict[tuple[str, str, str | None], list[int]] = defaultdict(list)
    for chat, call in _sends(calls):
        numbers[call.bot, moved.get(chat, chat), call.text].append(call.n)
    return [
        {"bot": bot, "chat": chat, "text": text, "times": len(calls_n), "calls": calls_n}
        for (bot, chat, text), calls_n in numbers.items()
        if len(calls_n) > 1
    ]


def _sends(calls: Iterable[Call]) -> Iterable[tuple[str, Call]]:
    for call in calls:
        if call.made and call.chat is not None and call.text is not None:
            yield call.chat, call
