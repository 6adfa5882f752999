"""Writes docs/metrics.md, every metric, from the code that shows it: python docs/generate_metrics.py"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from outbox.observe.names import all_names

PAGE: Final = Path(__file__).with_name("metrics.md")
HEAD: Final = """\
# Metrics

Written by `python docs/generate_metrics.py`: change a text where the metric is made (`outbox/observe/`), not here.
How to scrape them, and what to do with them: [monitoring.md](monitoring.md).

Label values are bounded: bots, priorities 0 to 3, methods (100 at most, the rest is `other`), error classes, states.
No metric holds a chat, a text, a correlation id or a bot token; in OpenMetrics the correlation id of a recent message
stands beside a bucket of `outbox_end_to_end_seconds` and `outbox_call_seconds` as its exemplar.
"""
PARTS: Final = {
    "worker": "## Of each worker\n\nEach process shows its own: add them up.\n",
    "database": (
        "## Of the whole database\n\nShown by one process, the exporter, from `outbox.gauges()`, each 15 s; take"
        " `max`, not `sum`: while the\nexporter changes two may show them.\n"
    ),
}


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for source, title in PARTS.items():
        lines.append(f"\n{title}\n| metric | kind | labels | |\n|---|---|---|---|\n")
        for one in sorted(all_names()):
            if one.source == source:
                labels = ", ".join(f"`{label}`" for label in one.labels)
                lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} |\n")
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
