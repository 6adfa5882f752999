"""Templates to responses: autoescape always, and the words that every page shares."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from outbox.operate.page.access import here, may_read_payloads, who
from outbox.operate.page.database import DATABASE
from outbox.operate.page.filters import age, ago, exact, number, shortened, shown
from outbox.operate.page.peers import SETTINGS
from outbox.redact import scrub_nested

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
SAID: Final = "outbox_said"  # the cookie that carries one line over a redirect


def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Return the page.

    Beside `context` a template knows operator, may_act, may_read_payloads, section, here, url() and static().
    """
    prefix = request.app[SETTINGS].admin_prefix
    said = request.cookies.get(SAID)
    found = who(request)
    shared = {
        "operator": found.operator if found else None,
        "may_act": request.app[DATABASE].known_rights.may_act,
        "may_log_out": found is not None and found.logged_in,
        "may_read_payloads": may_read_payloads(request),
        "section": request.path.removeprefix(prefix).strip("/").split("/")[0] or "overview",
        "here": prefix + here(request),
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


@cache
def _version(name: str) -> str:
    """A static file's address changes with its content, so that browsers may keep it."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]


def _without_tokens(value: Any) -> Any:
    # Each text by itself and before it is escaped: a search in the finished page might take a tag for a secret.
    return scrub_nested(value) if type(value) is str else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_without_tokens,
    )
    environment.filters |= {"ago": ago, "time": exact, "number": number, "age": age, "shown": shown}
    environment.filters["truncate"] = shortened
    return environment
