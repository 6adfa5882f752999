"""What other sites may make an operator's browser ask of this page: to open it by a link, and nothing else."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from outbox.operate.page.peers import SETTINGS, is_loopback

READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_OURS: Final = ("same-origin", "none")


def refuse_other_sites(request: web.Request) -> None:
    """Raise 403 for what another site began. Cookies, loopback and a proxy's login come along whoever began it."""
    site = request.headers.get("Sec-Fetch-Site")
    if request.method in READS:
        # A read may be slow, or stand in the audit: no image, frame or script of another site begins one.
        if site is None or site in _OURS or _is_link(request):
            return
    elif site in _OURS or (site is None and _origin_is_ours(request)):
        return
    raise web.HTTPForbidden(text="Refused: the page itself did not send this. Open the page and use its own buttons.")


def refuse_foreign_name(request: web.Request) -> None:
    """Raise 403 for a name of another site that resolves to 127.0.0.1: its scripts would be ours (DNS rebinding)."""
    host = _name(request)
    address = request.app[SETTINGS].admin_addr
    if not (_is_local(host) or (address is not None and host == address.host)):
        raise web.HTTPForbidden(
            text=f"Without a password the page answers only as localhost or 127.0.0.1, not as {host[:100]}."
            " Set OUTBOX_ADMIN_PASSWORD or OUTBOX_TRUSTED_HEADER to open it under other names."
        )


def refuse_rebound_name(request: web.Request) -> None:
    """Raise 403 where a proxy's header may be a script's work, on a site whose name resolves to us (DNS rebinding).

    Such a site can write any header but those that begin with Sec-. Its browser sends none of them, because a name
    without https is not to be trusted; to https and to loopback every browser sends Sec-Fetch-Site.
    """
    host = _name(request)
    if "Sec-Fetch-Site" not in request.headers and not (_is_address(host) or _is_local(host)):
        raise web.HTTPForbidden(
            text=f"Refused: nothing shows that this came through the proxy, for it came without https to {host[:100]}."
            " Open the page by https, or let the proxy send Host: 127.0.0.1."
        )


def _name(request: web.Request) -> str:
    """The name that the browser, or the proxy, knows us by."""
    try:
        return (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    except ValueError:
        return request.host


def _is_local(host: str) -> bool:
    return is_loopback(host) or host.endswith(".localhost")


def _is_address(host: str) -> bool:
    """Nobody else can make an address his own."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_link(request: web.Request) -> bool:
    """A link of an alert or a chat leads here, into a tab of its own."""
    return request.headers.get("Sec-Fetch-Mode") == "navigate" and request.headers.get("Sec-Fetch-Dest") == "document"


def _origin_is_ours(request: web.Request) -> bool:
    # No other site can make a browser send X-Forwarded-Host without asking first, and nobody answers that.
    hosts = {request.headers.get("X-Forwarded-Host", "").split(",")[0].strip(), request.host} - {""}
    try:
        return urlsplit(request.headers.get("Origin", "")).netloc in hosts
    except ValueError:
        return False
