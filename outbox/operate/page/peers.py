"""Where a request comes from: this machine, a proxy whose word is taken, or anybody."""

from __future__ import annotations

import ipaddress
from typing import Final

from aiohttp import web

from outbox.settings import Network, Settings

SETTINGS: Final = web.AppKey("SETTINGS", Settings)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str) -> bool:
    """Say whether a host to listen on, or that a browser named, is this machine and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may mean another machine tomorrow


def is_believed(peer: str | None, proxies: tuple[Network, ...]) -> bool:
    """Say whether a peer is one of OUTBOX_TRUSTED_PROXIES."""
    address = _read(peer)
    return address is not None and any(address in network for network in proxies)


def came_through_proxy(request: web.Request) -> bool:
    """Say whether what this request's headers tell of a browser is a trusted proxy's word."""
    return is_believed(request.remote, request.app[SETTINGS].trusted_proxies)


def client_address(request: web.Request) -> str:
    """Return the address of the browser: behind proxies the last one that a trusted proxy saw."""
    peer = request.remote or ""
    proxies = request.app[SETTINGS].trusted_proxies
    # From the right: what stands further left may be the browser's own invention.
    hops = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    while is_believed(peer, proxies) and hops:
        hop = _read(hops.pop().strip())
        if hop is None:
            break
        peer = str(hop)
    return peer


def came_by_https(request: web.Request) -> bool:
    """Say whether the browser's own connection is encrypted, here or at a proxy."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower() == "https"


def _read(text: str | None) -> _Address | None:
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
