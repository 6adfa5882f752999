"""Figures over the ledger, counted anew from its times: a window that let too much through would show here."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from outbox.simulator.config import Config
from outbox.simulator.ledger import Call
from outbox.simulator.windows import is_group


def measure(calls: Iterable[Call], config: Config, offset_s: float = 0.0) -> dict[str, Any]:
    """Counts, densest windows and utilisation of `calls`, in order of arrival; times plus `offset_s` are unix time.

    Only calls that take places count as accepted; getMe and the like are `free`. `utilisation` is that of the
    busiest bot: (places - 1) / (span in s × limit per s); null without a limit, 0 before the second call.
    """
    rejected = {"bot": 0, "chat": 0, "group": 0}
    errors = free = pending = 0
    accepted: list[Call] = []
    for call in calls:
        if call.verdict == "error":
            errors += 1
        elif call.verdict == "pending":
            pending += 1
        elif call.verdict != "accepted":
            rejected[call.verdict] += 1
        elif call.cost:
            accepted.append(call)
        else:
            free += 1

    of_bot: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    of_chat: defaultdict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    of_group: defaultdict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for call in accepted:
        of_bot[call.bot].append((call.arrived_s, call.cost))
        if call.chat is not None:
            of_chat[call.bot, call.chat].append((call.arrived_s, 1))
            if is_group(call.chat):
                of_group[call.bot, call.chat].append((call.arrived_s, call.cost))

    return {
        "accepted": len(accepted),
        "rejected": rejected,
        "max_in_1s": max((densest(arrivals, 1.0) for arrivals in of_bot.values()), default=0),
        "max_per_chat_in_1s": max((densest(arrivals, 1.0) for arrivals in of_chat.values()), default=0),
        "max_per_group_in_60s": max((densest(arrivals, 60.0) for arrivals in of_group.values()), default=0),
        "utilisation": _utilisation(of_bot.values(), config),
        "free": free,
        "errors": errors,
        "pending": pending,
        "bots": len(of_bot),
        "chats": len(of_chat),
        "first_at": accepted[0].arrived_s + offset_s if accepted else None,
        "last_at": accepted[-1].arrived_s + offset_s if accepted else None,
        "span_s": accepted[-1].arrived_s - accepted[0].arrived_s if accepted else 0.0,
    }


def densest(arrivals: list[tuple[float, int]], window_s: float) -> int:
    """Most places taken in any (t - window_s, t], for ascending times with their costs."""
    most = inside = oldest = 0
    for at, cost in arrivals:
        inside += cost
        while arrivals[oldest][0] <= at - window_s:
            inside -= arrivals[oldest][1]
            oldest += 1
        most = max(most, inside)
    return most


def _utilisation(bots: Iterable[list[tuple[float, int]]], config: Config) -> float | None:
    if not config.rate or not config.rate_window_s:
        return None
    busiest = max(bots, key=lambda arrivals: sum(cost for _, cost in arrivals), default=[])
    span_s = busiest[-1][0] - busiest[0][0] if busiest else 0.0
    if span_s <= 0:
        return 0.0
    places = sum(cost for _, cost in busiest)
    return (places - 1) / (span_s * config.rate / config.rate_window_s)
