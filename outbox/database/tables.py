"""The tables as SQLAlchemy Core metadata: for queries typed in Python; a test holds it equal to the migrations.

All of them, outbox.message too: accept/ must be importable without SQLAlchemy. CHECK constraints, storage settings and
partitions are the migrations' own; what a column means is in its COMMENT (sql/9_grant/comments.sql).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, MetaData, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, BOOLEAN, DOUBLE_PRECISION, JSONB
from sqlalchemy.types import UserDefinedType

metadata = MetaData(schema="outbox")

TIME = DateTime(timezone=True)
CHAT_ID = Text(collation="C")  # names are compared by byte: no locale can reorder the lanes


class XID8(UserDefinedType[int]):
    """A transaction's number, with its epoch: xid8."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type as DDL spells it."""
        return "xid8"


def _needed(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def _numbered() -> Column[Any]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


bot = Table(
    "bot",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("rate", Integer, server_default=text("30")),
    _needed("rate_window_s", DOUBLE_PRECISION, "1"),
    _needed("chat_interval_s", DOUBLE_PRECISION, "1"),
    Column("group_limit", Integer, server_default=text("20")),
    _needed("group_window_s", DOUBLE_PRECISION, "60"),
    _needed("backoff_initial_s", DOUBLE_PRECISION, "1"),
    _needed("backoff_factor", DOUBLE_PRECISION, "2"),
    _needed("backoff_max_s", DOUBLE_PRECISION, "30"),
    _needed("max_attempts", Integer, "10"),
    _needed("breaker_answers", Integer, "20"),
    _needed("breaker_failure_share", DOUBLE_PRECISION, "0.5"),
    _needed("breaker_open_s", DOUBLE_PRECISION, "10"),
    _needed("breaker_open_max_s", DOUBLE_PRECISION, "60"),
    _needed("idempotency_s", DOUBLE_PRECISION, "604800"),
    _needed("keep_payload", BOOLEAN, "true"),
    Column("telegram_id", BigInteger),
    _needed("created_at", TIME, "now()"),
    _needed("breaker_probes", Integer, "3"),
    Column("paid_broadcast_refused_at", TIME),
)

bucket = Table(
    "bucket",
    metadata,
    Column("bot", Text, primary_key=True),
    _needed("free_at", ARRAY(TIME), "'{}'::timestamptz[]"),
    _needed("used_by", ARRAY(BigInteger), "'{}'::bigint[]"),
    _needed("active_tokens", Integer, "0"),
    _needed("last_slot", BigInteger, "0"),
    Column("last_slot_at", TIME),
    Column("theoretical_at", TIME),
    Column("round_trip_since", TIME),
    _needed("round_trip_s", ARRAY(DOUBLE_PRECISION), "'{NULL,NULL}'::float8[]"),
    _needed("round_trip_answers", ARRAY(Integer), "'{0,0}'::int[]"),
    _needed("known_workers", ARRAY(BigInteger), "'{}'::bigint[]"),
    Column("lowered_at", TIME),
    Column("raised_at", TIME),
    _needed("breaker", Text, "'closed'"),
    Column("breaker_until", TIME),
    _needed("breaker_opened", Integer, "0"),
    Column("breaker_cell_at", TIME),
    _needed("breaker_answered", ARRAY(Integer), "'{0,0,0,0,0,0}'::int[]"),
    _needed("breaker_failed", ARRAY(Integer), "'{0,0,0,0,0,0}'::int[]"),
    Column("paused_until", TIME),
    Column("paused_reason", Text),
    _needed("stopped", BOOLEAN, "false"),
    _needed("unauthorised", BOOLEAN, "false"),
    Column("answered_cell_at", TIME),
    _needed("answered", ARRAY(Integer), "'{0,0,0,0,0,0,0,0,0,0}'::int[]"),
    _needed("flooded", ARRAY(Integer), "'{0,0,0,0,0,0,0,0,0,0}'::int[]"),
    _needed("flood_chats", ARRAY(Text), "'{}'::text[]"),
    _needed("flood_at", ARRAY(TIME), "'{}'::timestamptz[]"),
    _needed("flood_until", ARRAY(TIME), "'{}'::timestamptz[]"),
    Column("ceiling", Integer),
    _needed("probe_s", DOUBLE_PRECISION, "60"),
    _needed("lowered_in_a_row", Integer, "0"),
    Column("trusted_until", TIME),
    Column("breaker_reason", Text),
    _needed("breaker_refused", ARRAY(Integer), "'{0,0,0,0,0,0}'::int[]"),
    _needed("refused_chats", ARRAY(Text), "'{}'::text[]"),
    _needed("refused_at", ARRAY(TIME), "'{}'::timestamptz[]"),
    _needed("probes", Integer, "0"),
    _needed("probes_passed", Integer, "0"),
    _needed("probes_refused", Integer, "0"),
    Column("probed_at", TIME),
    _needed("probes_after", BigInteger, "0"),
    _needed("reply_run", Integer, "0"),
    _needed("kept_at", ARRAY(TIME), "'{}'::timestamptz[]"),
)

breaker_change = Table(
    "breaker_change",
    metadata,
    _numbered(),
    _needed("bot", Text),
    _needed("at", TIME),
    _needed("breaker", Text),
    _needed("reason", Text),
    Column("until", TIME),
    _needed("answered", Integer),
    _needed("failed", Integer),
    _needed("refused", Integer),
    Index("breaker_change_bot", "bot", "at"),
)

chat = Table(
    "chat",
    metadata,
    Column("chat_id", CHAT_ID, primary_key=True),
    Column("bot", Text, primary_key=True),
    Column("last_sent_at", TIME),
    Column("next_send_at", TIME),
    Column("group_sent_at", ARRAY(TIME)),
    Column("in_flight", BigInteger),
    Column("worker", BigInteger),
    Column("attempt", Integer),
    Column("claimed_at", TIME),
    _needed("backoff_until", ARRAY(TIME), "'{NULL,NULL,NULL,NULL}'::timestamptz[]"),
    Column("suppressed_until", TIME),
    Column("suppressed_reason", Text),
    _needed("suppression_evidence", Integer, "0"),
    Column("moved_to", CHAT_ID),
    Column("suppressed_at", TIME),
    Column("replied_at", TIME),
)

message = Table(
    "message",
    metadata,
    _numbered(),
    _needed("bot", Text, "'default'"),
    _needed("chat_id", CHAT_ID),
    _needed("method", Text, "'sendMessage'"),
    _needed("payload", JSONB),
    _needed("priority", SmallInteger, "2"),
    _needed("next_attempt_at", TIME, "now()"),
    Column("expires_at", TIME),
    Column("max_attempts", Integer),
    _needed("correlation_id", Text, "gen_random_uuid()::text"),
    Column("idempotency_key", Text),
    Column("collapse_key", Text),
    _needed("on_uncertain", Text, "'retry'"),
    Column("tag", Text),
    _needed("created_at", TIME, "now()"),
    _needed("attempts", Integer, "0"),
    _needed("calls", Integer, "0"),
    Column("last_error", Text),
    Index("message_lane", "chat_id", "bot", "priority", "next_attempt_at", "id"),
    Index(
        "message_collapse", "chat_id", "bot", "collapse_key", "id", postgresql_where=text("collapse_key IS NOT NULL")
    ),
    Index("message_tag", "tag", "id", postgresql_where=text("tag IS NOT NULL")),
)

wakeup = Table(
    "wakeup",
    metadata,
    _needed("bot", Text),
    _needed("priority", SmallInteger),
    _needed("due_at", TIME),
    _needed("chat_id", CHAT_ID),
    Index("wakeup_due", "bot", "priority", "due_at"),
)

ticket = Table(
    "ticket",
    metadata,
    Column("ticket", BigInteger, Identity(always=True), primary_key=True),
    _needed("bot", Text),
    _needed("chat_id", CHAT_ID),
    _needed("slot", BigInteger),
    _needed("slot_at", TIME),
    Column("waited_until", TIME),
    _needed("next_send_at", TIME),
    _needed("runs_out_at", TIME),
)

request = Table(
    "request",
    metadata,
    _numbered(),
    _needed("chat_id", CHAT_ID),
    _needed("bot", Text),
    _needed("message_id", BigInteger),
    _needed("requested_by", Text, "session_user"),
    _needed("requested_at", TIME, "now()"),
    Index("request_lane", "chat_id", "bot"),
)

stop = Table(
    "stop",
    metadata,
    _numbered(),
    _needed("tag", Text),
    _needed("requested_by", Text, "session_user"),
    _needed("requested_at", TIME, "now()"),
    Index("stop_tag", "tag"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", Text, primary_key=True),
    Column("bot", Text, primary_key=True),
    _needed("message_id", BigInteger),
    _needed("expires_at", TIME),
    Index("idempotency_expiry", "expires_at"),
)

attempt = Table(
    "attempt",
    metadata,
    _needed("message_id", BigInteger),
    _needed("attempt", Integer),
    _needed("bot", Text),
    _needed("chat_id", CHAT_ID),
    Column("worker", BigInteger),
    Column("started_at", TIME),
    _needed("answered_at", TIME),
    _needed("outcome", Text),
    Column("http_status", Integer),
    Column("error_code", Integer),
    Column("error_text", Text),
    Column("retry_after_s", DOUBLE_PRECISION),
    Column("error_class", Text),
    _needed("late", BOOLEAN, "false"),
    Column("correlation_id", Text),
    Column("tag", Text),
    Index("attempt_message", "message_id"),
    postgresql_partition_by="RANGE (answered_at)",
)

finished = Table(
    "finished",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    _needed("bot", Text),
    _needed("chat_id", CHAT_ID),
    _needed("method", Text),
    Column("payload", JSONB),
    _needed("priority", SmallInteger),
    _needed("status", Text),
    Column("tag", Text),
    _needed("correlation_id", Text),
    _needed("created_at", TIME),
    _needed("scheduled_for", TIME),
    Column("finished_at", TIME, primary_key=True),
    _needed("attempts", Integer),
    Column("telegram_message_id", BigInteger),
    Column("error_class", Text),
    Column("error_text", Text),
    Column("worker", BigInteger),
    _needed("xid", XID8, "pg_current_xact_id()"),
    Column("telegram_answer", JSONB),
    Index("finished_commit_order", "xid", "id"),
    Index("finished_correlation", "correlation_id"),
    postgresql_partition_by="RANGE (finished_at)",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    _needed("bot", Text),
    _needed("chat_id", CHAT_ID),
    _needed("method", Text),
    _needed("payload", JSONB),
    _needed("priority", SmallInteger),
    _needed("status", Text),
    Column("tag", Text),
    _needed("correlation_id", Text),
    Column("idempotency_key", Text),
    Column("collapse_key", Text),
    _needed("on_uncertain", Text),
    _needed("created_at", TIME),
    _needed("scheduled_for", TIME),
    Column("expires_at", TIME),
    _needed("died_at", TIME),
    _needed("attempts", Integer),
    _needed("calls", Integer),
    Column("max_attempts", Integer),
    Column("error_class", Text),
    Column("error_text", Text),
    Column("worker", BigInteger),
    _needed("xid", XID8, "pg_current_xact_id()"),
    Index("dead_letter_class", "bot", "error_class", "died_at"),
    Index("dead_letter_commit_order", "xid", "id"),
    Index("dead_letter_correlation", "correlation_id"),
    Index("dead_letter_age", "died_at"),
)

audit = Table(
    "audit",
    metadata,
    _numbered(),
    _needed("at", TIME, "now()"),
    _needed("who", Text, "session_user"),
    _needed("what", Text),
    _needed("filter", JSONB, "'{}'::jsonb"),
    Column("count", BigInteger),
)

worker = Table(
    "worker",
    metadata,
    _numbered(),
    _needed("name", Text),
    _needed("bots", ARRAY(Text)),
    Column("host", Text),
    Column("pid", Integer),
    Column("version", Text),
    _needed("idle", BOOLEAN, "true"),
    _needed("started_at", TIME),
    _needed("heartbeat_at", TIME),
    _needed("lease_until", TIME),
    Column("ended_at", TIME),
    _needed("reaped", BOOLEAN, "false"),
    Index("worker_alive", "id", postgresql_where=text("ended_at IS NULL")),
)

housekeeping = Table(
    "housekeeping",
    metadata,
    Column("duty", Text, primary_key=True),
    Column("holder", Text),
    Column("lease_until", TIME),
    Column("last_run_at", TIME),
    Column("last_error", Text),
    _needed("runs", BigInteger, "0"),
    _needed("wakeups_repaired", BigInteger, "0"),
)

release = Table(
    "release",
    metadata,
    Column("digest", Text, primary_key=True),
    _needed("applied_at", TIME),
)

depth = Table(
    "depth",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("priority", SmallInteger, primary_key=True, autoincrement=False),
    _needed("depth", BigInteger),
    _needed("due", BigInteger),
    _needed("scheduled", BigInteger),
    _needed("retrying", BigInteger),
    _needed("oldest_age_s", DOUBLE_PRECISION),
    _needed("measured_at", TIME),
)

backlog = Table(
    "backlog",
    metadata,
    Column("bot", Text, primary_key=True),
    _needed("measured_at", TIME),
    _needed("measured_xid", XID8),
    _needed("last_slot", BigInteger),
    _needed("due", ARRAY(BigInteger)),
    _needed("heads", ARRAY(BigInteger)),
    _needed("saturating", ARRAY(BigInteger)),
    _needed("lasting_lanes", ARRAY(BigInteger)),
    _needed("longest", ARRAY(BigInteger)),
    _needed("arrived_per_s", ARRAY(DOUBLE_PRECISION)),
    _needed("other_per_s", DOUBLE_PRECISION),
)

identity = Table(
    "identity",
    metadata,
    Column("only_row", BOOLEAN, primary_key=True, server_default=text("true")),
    _needed("environment", Text),
    _needed("system_identifier", Text),
    _needed("adopted_at", TIME),
)
