"""What went wrong, as a page of one line that says what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import psycopg
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from psycopg_pool import PoolClosed, PoolTimeout

from outbox.operate.explain import OLDER_SCHEMA, explain
from outbox.operate.page.database import BusyError
from outbox.operate.page.render import render
from outbox.redact import scrub

AWAY: Final = "The database does not answer"
BUSY: Final = "The page is busy"
_TITLES: Final = {
    400: "That cannot be done",
    401: "Your login has ended",
    403: "Refused",
    404: "Not found",
    405: "Not found",
    503: AWAY,
    504: "That took too long",
    500: "The page failed",
}
_REFUSED: Final = (  # what a verb of sql/8_operate says to who called it
    psycopg.errors.RaiseException,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ObjectNotInPrerequisiteState,
)
_log = structlog.stdlib.get_logger("outbox")


@web.middleware
async def show_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an error with a page in place of a traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        # aiohttp's own text is "404: Not Found".
        text = error.text or ""
        if text.startswith(f"{error.status}:"):
            text = f"There is no page {request.path}." if error.status == 404 else f"{error.reason}."
        return _page(request, error.status, text)
    except BusyError:
        return _page(request, 503, "All connections of this page are in use. Try again in some seconds.", BUSY)
    except (TimeoutError, PoolTimeout, PoolClosed, OSError):
        return _page(request, 503, "It is tried again with every request. Check the server and OUTBOX_DATABASE_URL.")
    except psycopg.Error as error:
        return _page(request, _status(error), _text(error))
    except Exception:
        _log.exception("the page failed", path=request.path, method=request.method)
        return _page(request, 500, "This is a bug of outbox. The log of outbox up has the details.")


def _status(error: psycopg.Error) -> int:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return 504
    if isinstance(error, _REFUSED) and not isinstance(error, OLDER_SCHEMA):
        return 400
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return 403
    return 503 if isinstance(error, psycopg.OperationalError) else 500


def _text(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return "The database was stopped after its time for a page. Ask for less: a bot, a tag or a shorter time."
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{explain(error)} The login of outbox up lacks the right: GRANT outbox_admin TO it."
    return explain(error)


def _page(request: web.Request, status: int, text: str, title: str | None = None) -> web.Response:
    if request.headers.get(hdrs.ACCEPT) == "application/json":
        response = web.json_response({"error": scrub(text)}, status=status)
    else:
        title = title or _TITLES.get(status) or HTTPStatus(status).phrase
        response = render(request, "error.html", status=status, title=title, text=text)
    if title == BUSY:
        response.headers[hdrs.RETRY_AFTER] = "5"
    return response
