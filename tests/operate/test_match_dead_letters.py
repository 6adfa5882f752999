"""What it costs to find dead letters by an operator's conditions, whatever the server believes of the table."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tests.invariants.calls import Connection, add_bot
from tests.observe.test_cost import rows_read, scans

FILL = """
    INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, correlation_id, on_uncertain,
                                    created_at, scheduled_for, died_at, attempts, calls, xid, error_class)
    SELECT i, CASE WHEN i % 100 = 0 THEN 'rare' ELSE 'default' END, '1', 'sendMessage', '{}', 2, 'dead', i::text,
           'retry', now(), now(), now() - interval '1 h' + make_interval(secs => i / 5000), 1, 1, '3',
           CASE WHEN i % 1000 = 0 THEN 'blocked' ELSE 'bad_request' END
      FROM generate_series(1, 20000) i
"""


@pytest.mark.parametrize("known", ["never analysed", "analysed when empty", "analysed"])
@pytest.mark.parametrize(
    ("conditions", "found", "most"),
    [
        ("p_until => 'infinity', p_limit => 10", 10, 200),  # of 5,000 that died at the same moment
        ("p_class => 'bad_request', p_limit => 10", 10, 200),
        ("p_bot => 'rare', p_class => 'blocked'", 20, 200),
        ("p_bot => 'rare', p_class => 'blocked', p_limit => 3", 3, 100),
        ("p_ids => '{17,4711,20001}'", 2, 20),
        ("p_since => (SELECT max(died_at) FROM outbox.dead_letter)", 1, 20),
    ],
)
def test_what_is_found_is_all_that_is_read(
    db: Database, connection: Connection, known: str, conditions: str, found: int, most: int
) -> None:
    add_bot(connection, "rare")
    if known == "analysed when empty":
        connection.execute("ANALYZE outbox.dead_letter")
    connection.execute(FILL)
    if known == "analysed":
        connection.execute("ANALYZE outbox.dead_letter")
    asked = f"SELECT outbox.retry({conditions}, p_dry_run => true)"
    connection.execute(asked)
    scanned, before = scans(db, connection), rows_read(db, connection)
    assert connection.execute(asked).fetchall() == [(found,)]
    assert rows_read(db, connection) - before <= most
    assert scans(db, connection) == scanned
