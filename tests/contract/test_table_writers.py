"""Who may write which table (docs: the tree is the life of a message), read from sql/ itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

VERBS = {
    "insert": r"INSERT INTO",
    "update": r"UPDATE(?: ONLY)?",
    "delete": r"DELETE FROM",
    "truncate": r"TRUNCATE(?: TABLE)?",
}

# table, verbs, the files or folders that may; everybody else may not
RULES = [
    ("wakeup", {"insert"}, {"sql/1_accept/file_wakeups.sql"}),
    # And forget, so that no wakeup names the chat any more.
    ("wakeup", {"delete"}, {"sql/2_claim/take_wakeups.sql", "sql/2_claim/drop_wakeups.sql"}),
    ("wakeup", {"update", "truncate"}, set()),
    ("bucket", {"insert", "update", "delete"}, {"sql/3_pace/"}),
    ("attempt", {"insert", "update", "delete"}, {"sql/6_complete/"}),
    ("finished", {"insert", "update", "delete"}, {"sql/6_complete/"}),
    ("dead_letter", {"insert", "update", "delete"}, {"sql/6_complete/"}),
    # Retention: days that nobody made a partition for.
    ("attempt_default", {"delete"}, {"sql/8_operate/drop_history.sql"}),
    ("finished_default", {"delete"}, {"sql/8_operate/drop_history.sql"}),
    ("message", {"delete"}, {"sql/6_complete/finish_messages.sql"}),
    # Messages come from applications; retry puts a dead letter back through the same door.
    ("message", {"insert"}, {"sql/1_accept/", "sql/6_complete/"}),
    ("message", {"update"}, {"sql/6_complete/"}),
    ("message", {"truncate"}, set()),
    ("idempotency", {"insert", "update"}, {"sql/1_accept/"}),
    # Appended to by applications; one that has moved follows its message.
    ("request", {"insert"}, {"sql/1_accept/cancel.sql", "sql/6_complete/cancel_requested.sql"}),
    ("request", {"delete"}, {"sql/6_complete/", "sql/8_operate/sweep.sql"}),
    ("stop", {"insert"}, {"sql/1_accept/cancel.sql"}),
    ("stop", {"delete"}, {"sql/8_operate/sweep.sql"}),
    ("watch", {"insert"}, {"sql/1_accept/watch.sql"}),
    ("watch", {"delete"}, {"sql/6_complete/finish_messages.sql", "sql/8_operate/sweep.sql"}),
    ("broadcast", {"insert", "update", "delete"}, {"sql/8_operate/measure_broadcasts.sql"}),
    ("audit", {"insert", "update", "delete"}, {"sql/8_operate/"}),
    ("batch", {"insert"}, {"sql/8_operate/start_batch.sql"}),
    (
        "batch",
        {"update"},
        {"sql/8_operate/start_batch.sql", "sql/8_operate/run_batches.sql", "sql/8_operate/forget.sql"},
    ),
    ("batch", {"delete", "truncate"}, set()),
    ("backlog", {"insert", "update", "delete"}, {"sql/8_operate/measure_queue.sql"}),
]

# Nobody is excused.
EXCEPTIONS: set[tuple[str, str, str]] = set()


def _writes(statements: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield (file, verb, table) for every statement that writes a table of ours."""
    for name, text in statements.items():
        for verb, words in VERBS.items():
            # An AFTER INSERT ON, a GRANT UPDATE ON or FOR UPDATE OF names no table in this way.
            for match in re.finditer(rf"\b{words} (?:outbox\.)?(\w+)\b(?! ON\b)", text, re.IGNORECASE):
                yield name, verb, match[1]


def _may(name: str, allowed: set[str]) -> bool:
    return any(name == one or (one.endswith("/") and name.startswith(one)) for one in allowed)


def _broken(statements: dict[str, str]) -> list[tuple[str, str, str]]:
    return [
        (name, verb, table)
        for name, verb, table in _writes(statements)
        for ruled, verbs, allowed in RULES
        if table == ruled and verb in verbs and not _may(name, allowed) and (name, verb, table) not in EXCEPTIONS
    ]


def test_every_table_is_written_by_its_stage_alone(statements):
    assert _broken(statements) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sql/2_claim/claim.sql", "INSERT INTO outbox.wakeup (bot) VALUES ('x')"),
        ("sql/6_complete/complete.sql", "DELETE FROM outbox.wakeup"),
        ("sql/2_claim/claim.sql", "UPDATE outbox.bucket k SET stopped = true"),
        ("sql/8_operate/retry.sql", "DELETE FROM outbox.message WHERE id = 1"),
        ("sql/8_operate/drop_history.sql", "DELETE FROM outbox.attempt a WHERE true"),
        ("sql/6_complete/complete.sql", "INSERT INTO outbox.audit (what) VALUES ('x')"),
    ],
)
def test_a_writer_from_another_stage_is_seen(name, text):
    assert len(_broken({name: text})) == 1


def test_the_writers_that_the_rules_name_exist(statements):
    """A rule about a file that was renamed would hold for ever."""
    writes = {(name, verb, table) for name, verb, table in _writes(statements)}
    for expected in (
        ("sql/1_accept/file_wakeups.sql", "insert", "wakeup"),
        ("sql/2_claim/take_wakeups.sql", "delete", "wakeup"),
        ("sql/3_pace/take_slots.sql", "update", "bucket"),
        ("sql/6_complete/finish_messages.sql", "delete", "message"),
        ("sql/6_complete/finish_messages.sql", "insert", "finished"),
        ("sql/6_complete/finish_messages.sql", "insert", "dead_letter"),
        ("sql/6_complete/record_attempts.sql", "insert", "attempt"),
        ("sql/6_complete/revive_dead_letters.sql", "insert", "message"),
        ("sql/2_claim/drop_wakeups.sql", "delete", "wakeup"),
        ("sql/8_operate/note_action.sql", "insert", "audit"),
        ("sql/8_operate/start_batch.sql", "insert", "batch"),
        ("sql/8_operate/run_batches.sql", "update", "batch"),
    ):
        assert expected in writes


def test_views_and_what_only_observes_write_nothing(statements):
    assert [write for write in _writes(statements) if write[0].startswith("sql/7_observe/")] == []


def test_no_table_is_written_by_a_query_built_from_text(statements):
    """EXECUTE would hide a writer from this test; DDL of partitions, their indexes and grants are what it is for."""
    for name, text in statements.items():
        for match in re.finditer(r"\bEXECUTE (?:format\()?'([^']*)'", text):
            assert re.match(
                r"CREATE TABLE|ALTER TABLE|DROP TABLE|CREATE INDEX|ALTER INDEX|CREATE ROLE|GRANT|REVOKE", match[1]
            ), (name, match[1])


def test_what_is_audited_is_an_operators_and_no_worker_may_call_it(statements, migrated):
    """roles.sql grants workers every function and takes these back one by one: none may be forgotten."""
    verbs = {
        name
        for text in statements.values()
        for name, body in re.findall(
            r"CREATE OR REPLACE FUNCTION outbox\.(\w+)(.*?)(?=CREATE OR REPLACE|\Z)", text, re.DOTALL
        )
        if "INSERT INTO outbox.audit" in body or "outbox.note_action(" in body
    }
    assert {"note_action", "set_bot", "retry", "discard", "pause", "resume", "lift_suppression", "forget"} <= verbs
    assert (
        migrated.execute(
            "SELECT r.rolname, p.proname FROM pg_proc p, pg_roles r"
            " WHERE p.pronamespace = 'outbox'::regnamespace AND p.proname = ANY (%s)"
            "   AND r.rolname IN ('outbox_worker', 'outbox_reader')"
            "   AND has_function_privilege(r.oid, p.oid, 'EXECUTE')",
            [sorted(verbs)],
        )
        == []
    )
