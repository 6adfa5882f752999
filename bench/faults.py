"""What goes wrong in the run of eventual delivery; the baseline (bench/naive.py) meets the same."""

from __future__ import annotations

from typing import Any, Final

SILENT: Final = 0.02
STALL_S: Final = 6.0
_OF_ALL: Final[tuple[tuple[float, dict[str, Any]], ...]] = (
    # Each flood of a chat is longer than its last, up to 3 s; quiet takes it back.
    (0.10, {"effect": "flood", "retry_after_s": [1, 2, 3], "decay_s": 5}),
    (0.02, {"effect": "status", "status": 500}),
    (0.01, {"effect": "status", "status": 502, "body": "html"}),
    (0.01, {"effect": "status", "status": 503}),
    (0.01, {"effect": "status", "status": 504, "body": "empty"}),
    (0.03, {"effect": "reset", "when": "before"}),
    (0.02, {"effect": "stall", "seconds": [STALL_S, STALL_S]}),
)


def eventual_faults(outage_at_s: float, outage_s: float, silent: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the rules; the outage closes the port.

    10 % 429 of 1-3 s, 5 % 5xx, 3 % resets before executing, 2 % stalls of 6 s, 2 % executed and never answered;
    each of those costs a worker 15 s, so a short run may name the calls itself: the rest of a `match`.
    """
    until_s = outage_at_s + outage_s
    rules: list[dict[str, Any]] = [
        {"match": {"from_s": outage_at_s, "until_s": until_s}, "effect": "outage", "kind": "refuse"}
    ]
    left = 1.0
    for share, rule in _OF_ALL:
        # The rules draw one after the other, each from what the ones before it left.
        rules.append({"match": {"method": "sendMessage", "share": round(share / left, 4)}} | rule)
        left -= share
    # This one draws from what was executed: all that is left, and the stalled.
    executed = left + _OF_ALL[-1][0]
    rules.append(
        {
            "match": {"method": "sendMessage"} | (silent or {"share": round(SILENT / executed, 4)}),
            "effect": "silence",
            "when": "after",
        }
    )
    return rules
