"""Messages that end without a worker."""

from __future__ import annotations

from collections.abc import Iterable

from tests.conftest import Database


def end(db: Database, ids: Iterable[int], status: str = "sent", error_class: str | None = None) -> None:
    """End these messages as complete does."""
    db.execute(
        "SELECT outbox.finish_messages(array_agg(jsonb_populate_record(NULL::outbox.ending, jsonb_build_object("
        "   'message_id', i, 'status', %s::text, 'error_class', %s::text, 'attempts', 1, 'calls', 1))))"
        "  FROM unnest(%s::bigint[]) i",
        [status, error_class, list(ids)],
    )
