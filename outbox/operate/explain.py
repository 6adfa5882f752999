"""Errors of a command, each in one line that says what to do."""

from __future__ import annotations

import psycopg

from outbox.deliver.identity import ForeignDatabaseError
from outbox.redact import scrub

OLDER_SCHEMA = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)


def explain(error: Exception) -> str:
    """Return one line that says what happened and what to do, without secrets."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        text = f"the database cannot be reached: {_one_line(error)}. Check OUTBOX_DATABASE_URL and the server."
    elif isinstance(error, psycopg.errors.InvalidPassword | psycopg.errors.InvalidAuthorizationSpecification):
        text = f"the database refused the login: {_one_line(error)}. Check user and password in OUTBOX_DATABASE_URL."
    elif isinstance(error, OLDER_SCHEMA):
        text = f"{_one_line(error)}. The schema is older than this program: run outbox migrate."
    elif isinstance(error, ForeignDatabaseError):
        text = str(error)
    elif isinstance(error, psycopg.Error):
        hint = f". {error.diag.message_hint}" if error.diag.message_hint else "."
        text = f"{error.diag.message_primary or _one_line(error)}{_notes(error)}{hint}"
    else:
        text = f"{_one_line(error) or type(error).__name__}{_notes(error)}. For the traceback: outbox --debug …"
    return scrub(text)


def _one_line(error: Exception) -> str:
    text = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = (text or str(error)).strip().splitlines()
    return "; ".join(line.strip() for line in lines if line.strip()).rstrip(".?")


def _notes(error: Exception) -> str:
    notes = getattr(error, "__notes__", [])
    return f" ({', '.join(notes)})" if notes else ""
