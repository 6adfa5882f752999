"""What workers and outsiders of another version rely on. A change here breaks them: add a _v2 or a column instead."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

import outbox
from outbox import Message
from outbox.accept.columns import TYPES
from outbox.accept.message import Columns

# Functions that a worker calls: result type, arguments (IN), result columns.
CALLED_BY_WORKERS = {
    "claim": (
        "p_worker bigint, p_bots text[], p_n integer, p_settlements jsonb",
        "TABLE(bot text, chat_id text, message_id bigint, attempt integer, method text, payload jsonb,"
        " priority smallint, on_uncertain text, correlation_id text, slot bigint, slot_at timestamp with time zone,"
        " created_at timestamp with time zone, clock_at timestamp with time zone, ask_again_s double precision,"
        " settled text[], due_at timestamp with time zone)",
    ),
    "complete": ("p_worker bigint, p_results jsonb", "integer"),
    "heartbeat": ("p_worker bigint, p_idle boolean", "boolean"),
    "register_worker": ("p_name text, p_bots text[], p_host text, p_pid integer, p_version text", "bigint"),
    "reap": ("", "integer"),
    "leave": ("p_worker bigint", "void"),
    "serve": ("p_worker bigint, p_bots text[]", "boolean"),
    "authorise": ("p_bot text, p_telegram_id bigint", "boolean"),
    "check_identity": (
        "p_environment text, p_telegram_ids jsonb",
        "TABLE(what text, bot text, remembered text, present text)",
    ),
}

PUBLIC_COLUMNS = {
    "message": "id bot chat_id method payload priority next_attempt_at expires_at max_attempts correlation_id"
    " idempotency_key collapse_key on_uncertain tag created_at attempts",
    "bot": "bot rate rate_window_s chat_interval_s group_limit group_window_s backoff_initial_s backoff_factor"
    " backoff_max_s max_attempts",
    "history": "id bot chat_id method priority status tag correlation_id created_at scheduled_for next_attempt_at"
    " finished_at attempts telegram_message_id error_class error_text",
    "attempt": "message_id attempt bot chat_id worker started_at answered_at outcome http_status error_code error_text"
    " retry_after_s",
}

PRODUCERS_SET = (
    "bot chat_id method payload priority next_attempt_at expires_at max_attempts correlation_id idempotency_key"
    " collapse_key on_uncertain tag target_id"
)


@pytest.mark.parametrize("name", CALLED_BY_WORKERS)
def test_a_function_that_workers_call_keeps_its_signature(migrated, name):
    assert migrated.execute(
        "SELECT pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid) FROM pg_proc p"
        " WHERE p.pronamespace = 'outbox'::regnamespace AND p.proname = %s",
        [name],
    ) == [CALLED_BY_WORKERS[name]]


def _columns(database: Any, relation: str) -> list[str]:
    return [
        name
        for (name,) in database.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum",
            [f"outbox.{relation}"],
        )
    ]


@pytest.mark.parametrize("relation", PUBLIC_COLUMNS)
def test_public_columns_keep_their_names_and_order(migrated, relation):
    promised = PUBLIC_COLUMNS[relation].split()
    assert _columns(migrated, relation)[: len(promised)] == promised


def test_history_has_no_other_columns(migrated):
    assert _columns(migrated, "history") == PUBLIC_COLUMNS["history"].split()


def test_a_producer_may_set_exactly_the_columns_that_are_promised(migrated):
    granted = migrated.execute(
        "SELECT column_name FROM information_schema.column_privileges WHERE table_schema = 'outbox'"
        "   AND table_name = 'message' AND grantee = 'outbox_producer' AND privilege_type = 'INSERT'"
    )
    assert sorted(name for (name,) in granted) == sorted(PRODUCERS_SET.split())


def test_python_knows_exactly_the_columns_that_a_producer_may_set():
    assert sorted(TYPES) == sorted(PRODUCERS_SET.split())
    assert sorted(field.name for field in fields(Message)) == sorted(TYPES)
    assert sorted({*Columns.__annotations__, "chat_id", "payload"}) == sorted(TYPES)


PYTHON = {
    "cancel": "(connection, id=None, *, tag=None, correlation_id=None, bot=None)",
    "check": "(message, /)",
    "enqueue": "(connection, chat_id, payload, **columns)",
    "enqueue_many": "(connection, messages)",
    "send": "(connection, chat_id, payload, **columns)",
    "status": "(connection, id)",
    "wait": "(connection, id, timeout_s=30.0)",
}


def test_what_an_application_imports_keeps_its_names():
    assert sorted(outbox.__all__) == sorted([*PYTHON, "Message", "Priority", "RefusedError", "Status"])


@pytest.mark.parametrize("name", PYTHON)
def test_what_an_application_calls_keeps_its_parameters(name):
    signature = inspect.signature(getattr(outbox, name))
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == PYTHON[name]


def test_a_status_has_the_columns_that_the_database_tells(migrated):
    for function in ("status", "watch"):
        rows = migrated.execute(
            "SELECT unnest(proargnames), unnest(proargmodes) FROM pg_proc"
            " WHERE pronamespace = 'outbox'::regnamespace AND proname = %s",
            [function],
        )
        assert [name for name, mode in rows if mode == "o"] == [field.name for field in fields(outbox.Status)]


def test_send_takes_every_column_of_a_message(migrated):
    overloads = migrated.execute(
        "SELECT array_to_string(proargnames, ' ') FROM pg_proc"
        " WHERE pronamespace = 'outbox'::regnamespace AND proname = 'send'"
    )
    assert [sorted(names.split()) for (names,) in overloads] == [sorted(f"p_{name}" for name in TYPES)] * 2


def test_the_types_that_python_casts_to_are_those_of_the_table(migrated):
    rows = migrated.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = 'outbox.message'::regclass AND attname = ANY (%s)",
        [list(TYPES)],
    )
    spelt = {"timestamptz": "timestamp with time zone", "int": "integer"}
    assert dict(rows) == {name: spelt.get(kind, kind) for name, kind in TYPES.items()}
