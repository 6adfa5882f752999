"""A publication FOR ALL TABLES, which anybody may make, stops no delivery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from outbox.database.ephemeral import ephemeral_server
from outbox.database.migrate import migrate


@pytest.fixture(scope="module")
def published() -> Iterator[str]:
    """A server with logical replication, where a publication of everything was made after `outbox migrate`."""
    with ephemeral_server({"wal_level": "logical"}) as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        yield url


def test_every_table_names_its_rows_for_replication(migrated):
    """A primary key under the default identity, or FULL; partitions do not inherit it, the default one neither."""
    assert (
        migrated.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind IN ('r', 'p')"
            "   AND c.relreplident <> 'f'"
            "   AND NOT (c.relreplident = 'd'"
            "            AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))"
        )
        == []
    )


def _deliver(connection: psycopg.Connection[Any], *outcomes: str) -> None:
    [(worker,)] = connection.execute("SELECT outbox.register_worker('w', '{default}', 'h', 1, '0')").fetchall()
    connection.execute("SELECT outbox.heartbeat(%s, false)", [worker])
    claimed = connection.execute(
        "SELECT to_jsonb(c) FROM outbox.claim(%s, '{default}', 10, '[]') c WHERE message_id IS NOT NULL", [worker]
    ).fetchall()
    assert len(claimed) == len(outcomes)
    results = [
        {key: lane[key] for key in ("bot", "chat_id", "message_id", "attempt")}
        | {"outcome": outcome, "age_s": 0, "duration_s": 0.1, "http_status": 200}
        for (lane,), outcome in zip(claimed, outcomes, strict=True)
    ]
    settlements = [
        {"bot": "default", "slot": lane["slot"], "age_s": 1, "result": "ok", "round_trip_s": 0.1} for (lane,) in claimed
    ]
    done = connection.execute("SELECT outbox.complete(%s, %s)", [worker, psycopg.types.json.Jsonb(results)]).fetchall()
    assert done == [(len(outcomes),)]
    connection.execute(
        "SELECT FROM outbox.claim(%s, '{default}', 0, %s)", [worker, psycopg.types.json.Jsonb(settlements)]
    )
    connection.execute("SELECT outbox.leave(%s)", [worker])


def test_a_life_of_messages_goes_on_under_a_publication_of_all_tables(published):
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO outbox.message (chat_id, payload, idempotency_key, expires_at)"
            " SELECT n::text, '{}', n::text, CASE WHEN n = 1 THEN now() - interval '1 s' END"
            "   FROM generate_series(1, 5) n"
        )
        _deliver(connection, "sent", "dead", "retry", "uncertain")
        statuses = connection.execute("SELECT status, count(*) FROM outbox.history GROUP BY 1 ORDER BY 1").fetchall()
        assert statuses == [("dead", 1), ("expired", 1), ("queued", 2), ("sent", 1)]
        connection.execute("SELECT outbox.register_worker('dies', '{default}', 'h', 1, '0')")
        connection.execute("UPDATE outbox.worker SET lease_until = now() - interval '1 s' WHERE ended_at IS NULL")
        connection.execute("SELECT outbox.reap()")
        connection.execute("SELECT outbox.keep_house('h'), outbox.note_duty('d', NULL), outbox.leave_house('h')")
        connection.execute("SELECT outbox.repair(), outbox.set_bot('default', p_rate => 10)")
        connection.execute("SELECT outbox.make_partitions(20)")


def test_history_that_is_old_goes_under_a_publication_of_all_tables(published):
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, answered_at, outcome)"
            " VALUES (1, 1, 'default', '1', now() - interval '100 days', 'sent')"
        )
        connection.execute("UPDATE outbox.idempotency SET expires_at = now() - interval '1 s'")
        connection.execute("UPDATE outbox.dead_letter SET died_at = now() - interval '100 days'")
        connection.execute("UPDATE outbox.worker SET ended_at = now() - interval '8 days'")
        connection.execute("SELECT outbox.drop_history()")
        for table in ("attempt_default", "idempotency", "dead_letter", "worker"):
            assert connection.execute(f"SELECT count(*) FROM outbox.{table}").fetchall() == [(0,)], table


def test_a_table_without_identity_is_what_the_publication_would_stop(published):
    """The test above can fail: PostgreSQL does enforce it."""
    with psycopg.connect(published, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.nameless AS SELECT 1 AS n")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="does not have a replica identity"):
            connection.execute("DELETE FROM public.nameless")
