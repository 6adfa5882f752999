"""Who may open the page and who wrote what: the door of every request."""

from __future__ import annotations

import ipaddress
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from outbox.operate.page.password import Sessions, WrongPasswords
from outbox.settings import Settings, UsageError

LOCAL: Final = "local"  # the operator where loopback is the only lock
SESSION_COOKIE: Final = "outbox_session"
_READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_OPEN: Final = ("/login", "/healthz", "/favicon.ico")
_LONGEST_NAME: Final = 200  # as outbox.note_action cuts it

_AGAIN: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0">'
    '<title>outbox</title><p><a href="">Go on</a></p></html>'
)

SETTINGS: Final = web.AppKey("SETTINGS", Settings)
SESSIONS: Final = web.AppKey("SESSIONS", Sessions)
WRONG_PASSWORDS: Final = web.AppKey("WRONG_PASSWORDS", WrongPasswords)


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
    if address is None or settings.admin_password or settings.trusted_header or _is_loopback(address.host):
        return
    raise UsageError(
        f"OUTBOX_ADMIN_ADDR {address} can be reached from other machines, and nothing asks who comes",
        "Set OUTBOX_ADMIN_PASSWORD or OUTBOX_TRUSTED_HEADER, or listen on 127.0.0.1",
    )


def set_up_access(app: web.Application, settings: Settings) -> None:
    """Give the application what guard() and the login need."""
    app[SETTINGS] = settings
    app[WRONG_PASSWORDS] = WrongPasswords()
    if settings.admin_password is not None:
        app[SESSIONS] = Sessions(settings.admin_password.get_secret_value())


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let through who may, and no write that another site began."""
    settings = request.app[SETTINGS]
    path = request.path.removeprefix(settings.admin_prefix)
    if request.method not in _READS:
        _refuse_cross_site(request)
    found = _identify(request)
    if found is not None:
        request[_WHO] = found
    elif path not in _OPEN and not path.startswith("/static/"):
        if SESSIONS not in request.app:
            raise web.HTTPForbidden(
                text=f"The proxy in front of this page did not say who you are: it must set {settings.trusted_header}."
            )
        return _ask_to_log_in(request, path)
    return await handler(request)


def who(request: web.Request) -> Who | None:
    """Return who asks; None: nobody known, which only the login page sees."""
    found: Who | None = request.get(_WHO)
    return found


def operator(request: web.Request) -> str:
    """Return the name for the audit."""
    found = who(request)
    assert found is not None
    return found.operator


def may_read_payloads(request: web.Request) -> bool:
    """Say whether this operator may see what messages hold (OUTBOX_PAYLOAD_READERS)."""
    found, readers = who(request), request.app[SETTINGS].payload_readers
    # Under a shared password the name is what somebody typed: it opens nothing.
    return found is not None and ("*" in readers or (found.vouched and found.operator in readers))


def came_by_https(request: web.Request) -> bool:
    """Say whether the browser's own connection is encrypted, here or at a proxy."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower() == "https"


def _identify(request: web.Request) -> Who | None:
    settings = request.app[SETTINGS]
    if settings.trusted_header is not None and _is_near(request.remote):
        names = request.headers.getall(settings.trusted_header, [])
        if len(names) > 1:
            raise web.HTTPForbidden(
                text=f"{settings.trusted_header} came twice: the proxy must strip what the browser sends."
            )
        if names and (name := names[0].encode(errors="replace").decode().strip()[:_LONGEST_NAME]):
            return Who(name, vouched=True)
    if SESSIONS in request.app:
        cookie = request.cookies.get(SESSION_COOKIE)
        session = request.app[SESSIONS].read(cookie) if cookie else None
        return Who(session, logged_in=True) if session else None
    if settings.trusted_header is not None:
        return None
    _refuse_foreign_name(request)
    return Who(LOCAL, vouched=True)


def _refuse_cross_site(request: web.Request) -> None:
    """Cookies, loopback and a proxy's login come along whichever site sent the form."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    else:
        # No other site can make a browser send X-Forwarded-Host without asking first, and nobody answers that.
        hosts = {request.headers.get("X-Forwarded-Host", "").split(",")[0].strip(), request.host} - {""}
        is_ours = urlsplit(request.headers.get("Origin", "")).netloc in hosts
    if not is_ours:
        raise web.HTTPForbidden(
            text="Refused: the page itself did not send this. Open the page and use its own buttons."
        )


def _refuse_foreign_name(request: web.Request) -> None:
    """A name of another site that resolves to 127.0.0.1 would make its scripts ours (DNS rebinding)."""
    host = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    address = request.app[SETTINGS].admin_addr
    if not (_is_loopback(host) or host.endswith(".localhost") or (address is not None and host == address.host)):
        raise web.HTTPForbidden(
            text=f"Without a password the page answers only as localhost or 127.0.0.1, not as {host[:100]}."
            " Set OUTBOX_ADMIN_PASSWORD or OUTBOX_TRUSTED_HEADER to open it under other names."
        )


def _ask_to_log_in(request: web.Request, path: str) -> web.StreamResponse:
    is_page = request.method in _READS and "text/html" in request.headers.get("Accept", "")
    if not is_page or "HX-Request" in request.headers:
        raise web.HTTPUnauthorized(text="Your login has ended. Reload the page to log in again.")
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # A strict cookie stays away when a link of an alert or a chat leads here; it comes when the page asks itself.
        return web.Response(text=_AGAIN, content_type="text/html")
    next_path = path + (f"?{request.query_string}" if request.query_string else "")
    query = f"?{urlencode({'next': next_path})}" if next_path != "/" else ""
    return web.Response(status=303, headers={"Location": f"{request.app[SETTINGS].admin_prefix}/login{query}"})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean another machine tomorrow


def _is_near(remote: str | None) -> bool:
    """A proxy stands on this machine or in its network; a name from the internet is a stranger's claim."""
    try:
        peer = ipaddress.ip_address(remote or "")
    except ValueError:
        return False
    return (getattr(peer, "ipv4_mapped", None) or peer).is_private or peer.is_loopback
