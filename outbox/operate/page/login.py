"""In and out, where OUTBOX_ADMIN_PASSWORD is the lock."""

from __future__ import annotations

import hmac
import math
from typing import Final

import structlog
from aiohttp import web

from outbox.operate.page.access import SESSION_COOKIE, SESSIONS, WRONG_PASSWORDS
from outbox.operate.page.parameters import form
from outbox.operate.page.password import SESSION_S
from outbox.operate.page.peers import SETTINGS, came_by_https, client_address
from outbox.operate.page.render import redirect, render, url

_LONGEST_NAME: Final = 64
_log = structlog.stdlib.get_logger("outbox")


async def ask(request: web.Request) -> web.Response:
    """Show the form."""
    if SESSIONS not in request.app:
        return redirect(request, "/")
    return _form(request, next_path=request.query.get("next", "/"))


async def log_in(request: web.Request) -> web.Response:
    """Look at the password, unless the address has to wait after wrong ones."""
    password = request.app[SETTINGS].admin_password
    if password is None:
        return redirect(request, "/")
    sent = await form(request)
    name, given = str(sent.get("name", "")).strip()[:_LONGEST_NAME], str(sent.get("password", ""))
    next_path = str(sent.get("next", "/"))
    wrong, address = request.app[WRONG_PASSWORDS], client_address(request)
    # From here to the verdict nothing awaits: two tries at once must not both be the first.
    if wait_s := math.ceil(wrong.wait_s(address)):
        text = f"There were wrong passwords. The next one is looked at in {wait_s} s."
        return _form(request, text, name=name, next_path=next_path, status=429, headers={"Retry-After": str(wait_s)})
    if not hmac.compare_digest(password.get_secret_value().encode(), given.encode(errors="replace")):
        wrong.note_wrong(address)
        # Not the name: some type the password there.
        _log.warning("wrong password for the page", address=address, next_in_s=math.ceil(wrong.wait_s(address)))
        return _form(request, "That is not the password.", name=name, next_path=next_path, status=403)
    wrong.note_right(address)
    if not name:
        return _form(request, "Say who you are, for the audit.", next_path=next_path, status=400)
    _log.info("logged in to the page", operator=name, address=address)
    # Anything but a path of ours would send the operator, just logged in, to somebody else's page.
    is_ours = next_path.startswith("/") and not next_path.startswith(("//", "/\\")) and next_path.isprintable()
    response = redirect(request, next_path if is_ours else "/")
    response.set_cookie(
        SESSION_COOKIE,
        request.app[SESSIONS].issue(name),
        max_age=SESSION_S,
        path=url(request, "/"),
        httponly=True,
        samesite="Strict",
        secure=came_by_https(request),
    )
    return response


async def log_out(request: web.Request) -> web.Response:
    """Forget the session."""
    response = redirect(request, "/login")
    response.del_cookie(SESSION_COOKIE, path=url(request, "/"))
    return response


def _form(
    request: web.Request,
    wrong: str = "",
    *,
    name: str = "",
    next_path: str = "/",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    response = render(request, "login.html", status=status, wrong=wrong, name=name, next_path=next_path)
    response.headers.update(headers or {})
    return response


ROUTES = [web.get("/login", ask), web.post("/login", log_in), web.post("/logout", log_out)]
