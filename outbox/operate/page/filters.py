"""How a page tells a time, a number, an age and the text of strangers."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final

from jinja2 import Environment, pass_environment
from jinja2.filters import do_truncate
from markupsafe import Markup, escape

from outbox.operate.unseen import UNSEEN
from outbox.redact import scrub_nested

NONE: Final = Markup('<span class="none">—</span>')
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_LAID_OUT: Final = "\n\t"  # shown as what they are


def ago(moment: datetime | None) -> Markup:
    """'3 min ago' or 'in 3 min', with the exact time beside it for who points at it."""
    if moment is None:
        return NONE
    seconds = (datetime.now(UTC) - moment).total_seconds()
    text = "now" if abs(seconds) < 1 else f"{age(seconds)} ago" if seconds > 0 else f"in {age(-seconds)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(_iso(moment), _utc(moment), text)


def exact(moment: datetime | None) -> Markup:
    """'2026-03-01 12:00:05 UTC'."""
    if moment is None:
        return NONE
    return Markup('<time datetime="{}">{}</time>').format(_iso(moment), _utc(moment))


def number(value: float | None) -> Markup | str:
    """'12,345' or '0.7'."""
    if value is None:
        return NONE
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.1f}"
    return f"{int(value):,}"


def age(seconds: float | None) -> Markup | str:
    """'45 s', '3 min', '2 h 5 min'."""
    if seconds is None:
        return NONE
    left = int(abs(seconds))
    for position, (size, unit) in enumerate(_UNITS):
        if left >= size:
            text = f"{left // size} {unit}"
            if size >= 3600 and (rest := left % size // _UNITS[position + 1][0]):
                text += f" {rest} {_UNITS[position + 1][1]}"
            return text
    return "0 s" if seconds == 0 else "< 1 s"


def shown(text: object) -> Markup:
    """Text of strangers: without bot tokens, apart in direction, with what cannot be seen made visible."""
    if text is None:
        return NONE
    # What is markup already was scrubbed as rows are (PageDatabase); a search in it might take a tag for a secret.
    marked = UNSEEN.sub(_mark, str(escape(text if isinstance(text, Markup) else scrub_nested(str(text)))))
    return Markup('<bdi class="shown">{}</bdi>').format(Markup(marked))  # noqa: S704 - escaped above


@pass_environment
def shortened(environment: Environment, text: str, length: int = 255, killwords: bool = False) -> str:
    """Cut a text as Jinja's truncate does, after the tokens are gone: half a token would not be known as one."""
    return do_truncate(environment, scrub_nested(str(text)), length, killwords)


def _mark(match: re.Match[str]) -> str:
    character = match[0]
    if character in _LAID_OUT:
        return character
    name = unicodedata.name(character, "control character")
    return f'<span class="unseen" title="{name.lower()}">U+{ord(character):04X}</span>'


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
