"""The shared password: a signed cookie for who knew it, and a wait that grows for who did not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from typing import Final

SESSION_S: Final = 12 * 3600
LONGEST_WAIT_S: Final = 60.0
FORGIVEN_AFTER_S: Final = 900.0  # without a wrong password from that address
OVERALL_STEP_S: Final = 0.05  # per wrong password of anybody: many addresses must not be many tries
OVERALL_LONGEST_S: Final = 5.0  # more would lock the operators out
OVERALL_FORGETS_S: Final = 10.0  # one wrong password less to remember
ADDRESSES: Final = 10_000


class Sessions:
    """Signs and reads the cookie. Every process with the same password takes every other's."""

    def __init__(self, password: str, now: Callable[[], float] = time.time) -> None:
        """Derive the key: slowly, because whoever has a cookie could try passwords against it."""
        self._key = hashlib.scrypt(password.encode(), salt=b"outbox page session", n=2**14, r=8, p=1)
        self._now = now

    def issue(self, operator: str) -> str:
        """Return the cookie of a new session."""
        name = base64.urlsafe_b64encode(operator.encode()).decode().rstrip("=")
        body = f"1.{name}.{int(self._now()) + SESSION_S}"
        return f"{body}.{self._sign(body)}"

    def read(self, cookie: str) -> str | None:
        """Return whose session it is; None: forged, ended, or of another password."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode(errors="replace")):
            return None
        _, name, until = body.split(".")
        if int(until) < self._now():
            return None
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(errors="replace"), hashlib.sha256).hexdigest()


class WrongPasswords:
    """How long an address has to wait before its next password is looked at.

    Nobody sleeps here: who comes too early is told so, and his password is not tried. Many tries at once are one.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` counts seconds."""
        self._now = now
        self._wrong: dict[str, tuple[int, float]] = {}  # how often in a row, and when last; the oldest first
        self._right: dict[str, None] = {}
        self._overall = 0.0
        self._overall_at_s = now()

    def wait_s(self, address: str) -> float:
        """Return the seconds this address has to wait; 0: its password may be looked at."""
        key, now = _network(address), self._now()
        count, last_s = self._wrong.get(key, (0, 0.0))
        wait_s = last_s + min(2.0 ** (count - 1), LONGEST_WAIT_S) - now if count else 0.0
        if key not in self._right:
            overall_s = min(self._remembered() * OVERALL_STEP_S, OVERALL_LONGEST_S)
            wait_s = max(wait_s, self._overall_at_s + overall_s - now)
        return max(wait_s, 0.0)

    def note_wrong(self, address: str) -> None:
        """Count a wrong password."""
        key, now = _network(address), self._now()
        count, last_s = self._wrong.pop(key, (0, now))
        self._wrong[key] = (1 if now - last_s > FORGIVEN_AFTER_S else count + 1, now)
        if len(self._wrong) > ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        self._overall = self._remembered() + 1
        self._overall_at_s = now

    def note_right(self, address: str) -> None:
        """Forget the wrong ones of an address, which others' can no longer delay."""
        key = _network(address)
        self._wrong.pop(key, None)
        self._right[key] = None
        if len(self._right) > ADDRESSES:
            del self._right[next(iter(self._right))]

    def _remembered(self) -> float:
        return max(self._overall - (self._now() - self._overall_at_s) / OVERALL_FORGETS_S, 0.0)


def _network(address: str) -> str:
    """Whoever has one IPv6 address has a /64 of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if mapped := parsed.ipv4_mapped:
        return str(mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
