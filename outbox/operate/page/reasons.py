"""What outbox.explain says, for a page: times from now, and links to what stands in the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from markupsafe import Markup

from outbox.operate.page.filters import ago, shown
from outbox.operate.times import read_time

_MARKS: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC"
    r"|: SELECT outbox\.resume\('(?P<paused>[a-z0-9_-]{1,63})'\)"
    r"|\bmessage (?P<message>[0-9]{1,19})(?= of its chat is in flight)"
)

Url = Callable[[str], str]


def reason(text: str, url: Url) -> Markup:
    """Return one reason. Text of strangers in it, such as an error, is shown as text."""
    parts, at = [], 0
    for found in _MARKS.finditer(text):
        parts += [shown(text[at : found.start()]), _told(found, url)]
        at = found.end()
    return Markup().join([*parts, shown(text[at:])] if text[at:] else parts)


def _told(found: re.Match[str], url: Url) -> Markup:
    if found["paused"]:
        link = Markup('. <a href="{}">Resume it on its page</a>')
        return link.format(url(f"/bots/{found['paused']}"))
    if found["message"]:
        return Markup('<a href="{}">message {}</a>').format(url(f"/messages/{found['message']}"), found["message"])
    try:
        return Markup("{} ({})").format(f"{found['time']} UTC", ago(read_time(found["time"])))
    except ValueError:  # an error's text with a 31st of February
        return shown(found[0])
