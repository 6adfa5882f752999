"""A database of the last revision that landed goes on under this one's tables and functions."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from outbox.database.migrate import migrate

# What 0003 knew under names that return something else today, as its functions said it.
RETURNED_LESS = (
    "outbox.claim_lanes(p_worker bigint, p_bot text, p_n int, p_settlements jsonb, p_priorities smallint[],"
    " p_now timestamptz, p_may_end int, p_most_bytes int, p_is_first boolean, OUT lanes outbox.lane[],"
    " OUT slot bigint[], OUT slot_at timestamptz[], OUT ended int, OUT settled boolean, OUT ask_again_s float8)",
    "outbox.head_of_lane(p_chat_id text, p_bot text, p_now timestamptz, OUT id bigint, OUT priority smallint,"
    " OUT next_attempt_at timestamptz, OUT expires_at timestamptz, OUT attempt int, OUT bytes int)",
    "outbox.assign_slots(p_last_slot bigint, p_slot_at timestamptz[], p_lanes outbox.lane[], p_most_bytes int,"
    " p_is_first boolean, OUT given int[], OUT given_slot int[], OUT left_over int[])",
    "outbox.end_expired(p_bot text, p_chat_ids text[], p_now timestamptz, p_most int, OUT ended int)",
)


@pytest.fixture
def at_0003(empty_db):
    """The tables of 0003, filled a little, with what its functions looked like."""
    versions = sorted(Path("migrations/versions").glob("000[1-3]*.py"))
    with psycopg.connect(empty_db.url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA outbox")
        for version in versions:
            [ddl] = re.findall(r'op\.execute\(\s*"""(.*?)"""', version.read_text(encoding="utf-8"), re.DOTALL)
            connection.execute(ddl)
        for function in RETURNED_LESS:
            connection.execute(f"CREATE FUNCTION {function} LANGUAGE plpgsql AS 'BEGIN NULL; END'")
        connection.execute("CREATE TABLE outbox.alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO outbox.alembic_version VALUES ('0003')")
        connection.execute("INSERT INTO outbox.bot (bot) VALUES ('default')")
        connection.execute(
            "INSERT INTO outbox.bucket (bot, free_at, used_by, active_tokens)"
            " VALUES ('default', array_fill('epoch'::timestamptz, '{30}'), array_fill(0::bigint, '{30}'), 30)"
        )
        connection.execute("INSERT INTO outbox.message (chat_id, payload) VALUES ('42', '{\"text\": \"hi\"}')")
        connection.execute("INSERT INTO outbox.wakeup VALUES ('default', 2, now(), '42')")
    return empty_db


def test_what_waited_under_the_last_revision_is_claimed_under_this_one(at_0003):
    migrate(at_0003.url)
    with at_0003.connect() as connection:
        [(worker,)] = connection.execute("SELECT outbox.register_worker('w', '{default}', 'h', 1, 'v')").fetchall()
        lanes = connection.execute(
            "SELECT chat_id, payload FROM outbox.claim(%s, '{default}', 10, '[]') WHERE message_id IS NOT NULL",
            [worker],
        ).fetchall()
    assert lanes == [("42", {"text": "hi"})]
