"""What an operator has to know before anything else, each with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from outbox.operate.page.database import Rights, Row
from outbox.operate.sending_state import BREAKER_OPEN, NO_WORKER, PAUSED, REFUSED

MOST: Final = 6

_TOLD: Final = {
    PAUSED: ("warn", "Bot {bot} is paused by an operator{waiting}."),
    REFUSED: ("bad", "Telegram refuses the bot token of {bot}{waiting}. Set a token that works."),
    BREAKER_OPEN: ("bad", "The breaker of bot {bot} is open, because calls fail{waiting}. It tries again by itself."),
    NO_WORKER: ("bad", "No worker serves bot {bot}{waiting}. Start one that has its bot token."),
}


class Notice(NamedTuple):
    """One line, how bad it is, and the page that says more."""

    kind: str
    text: str
    path: str | None = None
    link: str = ""


def notices(
    bots: Sequence[Row], workers: Sequence[Row], rights: Rights, measured_at: datetime | None, *, measured: bool
) -> list[Notice]:
    """Return what is wrong, the worst first. `measured`: housekeeping counts; `measured_at`: when it last did."""
    found = []
    if not any(worker["state"] != "lost" for worker in workers):
        found.append(
            Notice("bad", "No worker runs, so nothing is sent. Start one: OUTBOX_TOKEN=… outbox up, or outbox worker.")
        )
    found += [_of_bot(row) for row in bots if row["state"][0] in _TOLD and _matters(row, found)]
    if not measured:
        since = f" since {measured_at:%H:%M:%S} UTC" if measured_at else ""
        found.append(
            Notice("warn", f"Nobody counts what waits{since}: no process keeps house. outbox up and outbox worker do.")
        )
    if not rights.as_reader:
        found.append(
            Notice(
                "warn",
                f"This page reads with all rights of its login: {rights.login} may not become outbox_reader."
                f' Run: GRANT outbox_reader TO "{rights.login}";',
            )
        )
    found.sort(key=lambda notice: notice.kind != "bad")
    if len(found) > MOST:
        more = len(found) - MOST + 1
        found[MOST - 1 :] = [Notice("warn", f"And {more} more bots do not send.", "/bots", "Bots")]
    return found


def _matters(row: Row, found: Sequence[Notice]) -> bool:
    """Without any worker that is said once; a bot that nobody serves and nobody writes for is no news."""
    return row["state"][0] != NO_WORKER or (not found and row["waiting"] > 0)


def _of_bot(row: Row) -> Notice:
    kind, text = _TOLD[row["state"][0]]
    count = row["waiting"]
    waiting = f", and {count:,} {'message waits' if count == 1 else 'messages wait'}" if count else ""
    return Notice(kind, text.format(bot=row["bot"], waiting=waiting), f"/bots/{row['bot']}", f"Bot {row['bot']}")
