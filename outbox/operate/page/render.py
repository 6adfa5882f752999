"""Templates to responses: autoescape always, and the words that every page shares."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from outbox.operate.page.access import SETTINGS, may_read_payloads, who
from outbox.operate.page.database import DATABASE

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
NONE: Final = Markup('<span class="none">—</span>')
SAID: Final = "outbox_said"  # the cookie that carries one line over a redirect
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
# What turns text around or hides in it. The joiners stay: emoji and several scripts are made of them.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Return the page.

    Beside `context` a template knows operator, may_act, may_read_payloads, section, here, url() and static().
    """
    prefix = request.app[SETTINGS].admin_prefix
    path = request.path.removeprefix(prefix)
    said = request.cookies.get(SAID)
    found = who(request)
    shared = {
        "operator": found.operator if found else None,
        "may_act": request.app[DATABASE].known_rights.may_act,
        "may_log_out": found is not None and found.logged_in,
        "may_read_payloads": may_read_payloads(request),
        "section": path.strip("/").split("/")[0] or "overview",
        "here": prefix + path + (f"?{request.query_string}" if request.query_string else ""),
        "rendered_at": datetime.now(UTC),
        "said": _unpack(said) if said else None,
        "url": lambda path, **query: url(request, path, **query),
        "static": lambda name: url(request, f"/static/{name}", v=_version(name)),
    }
    text = _environment().get_template(template).render(shared | context)
    response = web.Response(text=text, content_type="text/html", status=status)
    if said and "HX-Request" not in request.headers:
        response.del_cookie(SAID, path=url(request, "/"))
    return response


def url(request: web.Request, path: str, **query: Any) -> str:
    """Return a link inside the page, below OUTBOX_ADMIN_PREFIX. Values that are None or empty are left out."""
    kept = {name: value for name, value in query.items() if value is not None and value != "" and value != []}
    return request.app[SETTINGS].admin_prefix + path + (f"?{urlencode(kept, doseq=True)}" if kept else "")


def redirect(request: web.Request, path: str, *, said: str | None = None, **query: Any) -> web.Response:
    """Answer a write: 303 to a page that shows in one line what was done."""
    response = web.Response(status=303, headers={"Location": url(request, path, **query)})
    if said:
        response.set_cookie(SAID, _pack(said), max_age=30, path=url(request, "/"), httponly=True, samesite="Strict")
    return response


def _pack(text: str) -> str:
    return base64.urlsafe_b64encode(text[:500].encode()).decode()


def _unpack(value: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(value).decode()
    except ValueError:
        return None


def ago(moment: datetime | None) -> Markup:
    """'3 min ago' or 'in 3 min', with the exact time beside it for who points at it."""
    if moment is None:
        return NONE
    seconds = (datetime.now(UTC) - moment).total_seconds()
    text = "now" if abs(seconds) < 1 else f"{age(seconds)} ago" if seconds > 0 else f"in {age(-seconds)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(_iso(moment), _utc(moment), text)


def moment_text(moment: datetime | None) -> Markup:
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
    """Text of strangers: apart from its surroundings in direction, with what cannot be seen made visible."""
    if text is None:
        return NONE
    marked = _UNSEEN.sub(_mark, str(escape(text)))
    return Markup('<bdi class="shown">{}</bdi>').format(Markup(marked))  # noqa: S704 - escaped above


def _mark(match: re.Match[str]) -> str:
    character = match[0]
    name = unicodedata.name(character, "control character")
    return f'<span class="unseen" title="{name.lower()}">U+{ord(character):04X}</span>'


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@cache
def _version(name: str) -> str:
    """A static file's address changes with its content, so that browsers may keep it."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"ago": ago, "time": moment_text, "number": number, "age": age, "shown": shown}
    return environment
