"""Who may open the page and who wrote what: the door of every request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Handler

from outbox.operate.page.password import Sessions, WrongPasswords
from outbox.operate.page.peers import SETTINGS, came_through_proxy, is_loopback
from outbox.operate.page.sites import READS, refuse_foreign_name, refuse_other_sites, refuse_rebound_name
from outbox.settings import Settings, UsageError

LOCAL: Final = "local"  # the operator where loopback is the only lock
AS_TYPED: Final = ", as typed"  # in the audit, behind a name that nobody vouched for
SESSION_COOKIE: Final = "outbox_session"
_LONGEST_NAME: Final = 200  # as outbox.note_action cuts it

_AGAIN: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    '<title>outbox</title><p><a href="">Go on</a></p></html>'
)

SESSIONS: Final = web.AppKey("SESSIONS", Sessions)
WRONG_PASSWORDS: Final = web.AppKey("WRONG_PASSWORDS", WrongPasswords)
_OPEN: Final[web.AppKey[frozenset[Handler]]] = web.AppKey("_OPEN", frozenset)


class Who(NamedTuple):
    """Who asks. `vouched`: the name is not just what somebody typed."""

    operator: str
    vouched: bool = False
    logged_in: bool = False


# Newer releases of aiohttp warn of plain strings, older ones know nothing else.
_WHO: Final[Any] = web.RequestKey("who", Who) if hasattr(web, "RequestKey") else "who"


def refuse_open_door(settings: Settings) -> None:
    """Raise UsageError where the page would listen beyond this machine and let everybody in."""
    address = settings.admin_addr
    if address is None or settings.admin_password or settings.trusted_header or is_loopback(address.host):
        return
    raise UsageError(
        f"OUTBOX_ADMIN_ADDR {address} can be reached from other machines, and nothing asks who comes",
        "Set OUTBOX_ADMIN_PASSWORD or OUTBOX_TRUSTED_HEADER, or listen on 127.0.0.1",
    )


def set_up_access(app: web.Application, settings: Settings, open_to_all: Iterable[Handler]) -> None:
    """Give the application what guard() and the login need. `open_to_all`: handlers that answer whoever asks."""
    app[SETTINGS] = settings
    app[_OPEN] = frozenset(open_to_all)
    app[WRONG_PASSWORDS] = WrongPasswords()
    if settings.admin_password is not None:
        app[SESSIONS] = Sessions(settings.admin_password.get_secret_value())


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let through who may, and nothing that another site began."""
    refuse_other_sites(request)
    found = _identify(request)
    if found is not None:
        request[_WHO] = found
    elif not _is_open(request):
        if SESSIONS not in request.app:
            raise web.HTTPForbidden(text=_who_did_not_say(request))
        return _ask_to_log_in(request)
    return await handler(request)


def _is_open(request: web.Request) -> bool:
    # By what will answer, not by the path: below a prefix one path can be two routes'.
    found = request.match_info
    return found.handler in request.app[_OPEN] or isinstance(found.route.resource, web.StaticResource)


def who(request: web.Request) -> Who | None:
    """Return who asks; None: nobody known, which only the login page sees."""
    found: Who | None = request.get(_WHO)
    return found


def operator(request: web.Request) -> str:
    """Return the name for the audit. What somebody typed under a shared password is marked so."""
    found = who(request)
    assert found is not None
    return found.operator if found.vouched else f"{found.operator}{AS_TYPED}"


def may_read_payloads(request: web.Request) -> bool:
    """Say whether this operator may see what messages hold (OUTBOX_PAYLOAD_READERS)."""
    found, readers = who(request), request.app[SETTINGS].payload_readers
    # Under a shared password the name is what somebody typed: it opens nothing.
    return found is not None and ("*" in readers or (found.vouched and found.operator in readers))


def _identify(request: web.Request) -> Who | None:
    settings = request.app[SETTINGS]
    if settings.trusted_header is not None and came_through_proxy(request):
        names = request.headers.getall(settings.trusted_header, [])
        if len(names) > 1:
            raise web.HTTPForbidden(
                text=f"{settings.trusted_header} came twice: the proxy must strip what the browser sends."
            )
        if names and (name := names[0].encode(errors="replace").decode().strip()[:_LONGEST_NAME]):
            refuse_rebound_name(request)
            return Who(name, vouched=True)
    if SESSIONS in request.app:
        cookie = request.cookies.get(SESSION_COOKIE)
        session = request.app[SESSIONS].read(cookie) if cookie else None
        return Who(session, logged_in=True) if session else None
    if settings.trusted_header is not None:
        return None
    refuse_foreign_name(request)
    return Who(LOCAL, vouched=True)


def _who_did_not_say(request: web.Request) -> str:
    header = request.app[SETTINGS].trusted_header
    if came_through_proxy(request):
        return f"The proxy in front of this page did not say who you are: it must set {header}."
    return (
        f"This came from {request.remote}, which is not believed to say who you are."
        " Open the page through its proxy; if that is the proxy, add it to OUTBOX_TRUSTED_PROXIES."
    )


def _ask_to_log_in(request: web.Request) -> web.StreamResponse:
    is_page = request.method in READS and "text/html" in request.headers.get("Accept", "")
    if not is_page or "HX-Request" in request.headers:
        raise web.HTTPUnauthorized(text="Your login has ended. Reload the page to log in again.")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # A strict cookie stays away when a link of an alert or a chat leads here; it comes when the page asks itself.
        return web.Response(text=_AGAIN, content_type="text/html")
    next_path = here(request)
    query = f"?{urlencode({'next': next_path})}" if next_path != "/" else ""
    return web.Response(status=303, headers={"Location": f"{request.app[SETTINGS].admin_prefix}/login{query}"})


def here(request: web.Request) -> str:
    """Return what this request asks for, below the prefix and encoded as it came: decoded, `a%26b` would be two."""
    asked = request.rel_url
    path = asked.raw_path.removeprefix(request.app[SETTINGS].admin_prefix)
    return path + (f"?{asked.raw_query_string}" if asked.raw_query_string else "")
