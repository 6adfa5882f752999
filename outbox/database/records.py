"""The tables that say what happened, and what was counted of it, as SQLAlchemy Core metadata."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, BOOLEAN, DOUBLE_PRECISION, JSONB

from outbox.database.columns import CHAT_ID, TIME, XID8, metadata, needed, numbered

breaker_change = Table(
    "breaker_change",
    metadata,
    numbered(),
    needed("bot", Text),
    needed("at", TIME),
    needed("breaker", Text),
    needed("reason", Text),
    Column("until", TIME),
    needed("answered", Integer),
    needed("failed", Integer),
    needed("refused", Integer),
    Index("breaker_change_bot", "bot", "at"),
)

attempt = Table(
    "attempt",
    metadata,
    needed("message_id", BigInteger),
    needed("attempt", Integer),
    needed("bot", Text),
    needed("chat_id", CHAT_ID),
    Column("worker", BigInteger),
    Column("started_at", TIME),
    needed("answered_at", TIME),
    needed("outcome", Text),
    Column("http_status", Integer),
    Column("error_code", Integer),
    Column("error_text", Text),
    Column("retry_after_s", DOUBLE_PRECISION),
    Column("error_class", Text),
    needed("late", BOOLEAN, "false"),
    Column("correlation_id", Text),
    Column("tag", Text),
    Index("attempt_message", "message_id"),
    Index("attempt_answered", "answered_at"),
    postgresql_partition_by="RANGE (answered_at)",
)

finished = Table(
    "finished",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    needed("bot", Text),
    needed("chat_id", CHAT_ID),
    needed("method", Text),
    Column("payload", JSONB),
    needed("priority", SmallInteger),
    needed("status", Text),
    Column("tag", Text),
    needed("correlation_id", Text),
    needed("created_at", TIME),
    needed("scheduled_for", TIME),
    Column("finished_at", TIME, primary_key=True),
    needed("attempts", Integer),
    Column("telegram_message_id", BigInteger),
    Column("error_class", Text),
    Column("error_text", Text),
    Column("worker", BigInteger),
    needed("xid", XID8, "pg_current_xact_id()"),
    Column("telegram_answer", JSONB),
    Index("finished_commit_order", "xid", "id"),
    Index("finished_correlation", "correlation_id"),
    Index("finished_chat", "chat_id", "id"),
    Index("finished_bot", "bot", "id"),
    Index("finished_tag", "tag", "id", postgresql_where=text("tag IS NOT NULL")),
    Index("finished_class", "error_class", "id", postgresql_where=text("error_class IS NOT NULL")),
    Index("finished_status", "status", "id", postgresql_where=text("status <> 'sent'")),
    Index("finished_unsent", "finished_at", postgresql_where=text("status <> 'sent'")),
    postgresql_partition_by="RANGE (finished_at)",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    needed("bot", Text),
    needed("chat_id", CHAT_ID),
    needed("method", Text),
    needed("payload", JSONB),
    needed("priority", SmallInteger),
    needed("status", Text),
    Column("tag", Text),
    needed("correlation_id", Text),
    Column("idempotency_key", Text),
    Column("collapse_key", Text),
    needed("on_uncertain", Text),
    needed("created_at", TIME),
    needed("scheduled_for", TIME),
    Column("expires_at", TIME),
    needed("died_at", TIME),
    needed("attempts", Integer),
    needed("calls", Integer),
    Column("max_attempts", Integer),
    Column("error_class", Text),
    Column("error_text", Text),
    Column("worker", BigInteger),
    needed("xid", XID8, "pg_current_xact_id()"),
    Column("target_id", BigInteger),
    Index("dead_letter_class", "bot", "error_class", "died_at"),
    Index("dead_letter_commit_order", "xid", "id"),
    Index("dead_letter_correlation", "correlation_id"),
    Index("dead_letter_age", "died_at"),
    Index("dead_letter_order", "died_at", "id"),
    Index("dead_letter_chat", "chat_id", "id"),
    Index("dead_letter_tag", "tag", "status", postgresql_where=text("tag IS NOT NULL")),
)

batch = Table(
    "batch",
    metadata,
    numbered(),
    needed("verb", Text),
    needed("filter", JSONB),
    needed("requested_by", Text),
    needed("requested_at", TIME),
    Column("per_s", DOUBLE_PRECISION),
    needed("total", BigInteger),
    needed("done", BigInteger, "0"),
    needed("failed", BigInteger, "0"),
    needed("state", Text, "'running'"),
    Column("finished_at", TIME),
    Column("last_error", Text),
    needed("due_at", TIME),
    needed("step_size", Integer, "200"),
    Column("paced_at", TIME),
    Column("reached_at", TIME),
    Column("reached_id", BigInteger),
    needed("found", BigInteger, "0"),
    Column("key", Text, unique=True),
    Index("batch_unfinished", "due_at", "id", postgresql_where=text("finished_at IS NULL")),
)

audit = Table(
    "audit",
    metadata,
    numbered(),
    needed("at", TIME, "now()"),
    needed("who", Text, "session_user"),
    needed("what", Text),
    needed("filter", JSONB, "'{}'::jsonb"),
    Column("count", BigInteger),
)

housekeeping = Table(
    "housekeeping",
    metadata,
    Column("duty", Text, primary_key=True),
    Column("holder", Text),
    Column("lease_until", TIME),
    Column("last_run_at", TIME),
    Column("last_error", Text),
    needed("runs", BigInteger, "0"),
    needed("wakeups_repaired", BigInteger, "0"),
)

release = Table(
    "release",
    metadata,
    Column("digest", Text, primary_key=True),
    needed("applied_at", TIME),
)

depth = Table(
    "depth",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("priority", SmallInteger, primary_key=True, autoincrement=False),
    needed("depth", BigInteger),
    needed("due", BigInteger),
    needed("scheduled", BigInteger),
    needed("retrying", BigInteger),
    needed("oldest_age_s", DOUBLE_PRECISION),
    needed("measured_at", TIME),
)

backlog = Table(
    "backlog",
    metadata,
    Column("bot", Text, primary_key=True),
    needed("measured_at", TIME),
    needed("measured_xid", XID8),
    needed("last_slot", BigInteger),
    needed("due", ARRAY(BigInteger)),
    needed("heads", ARRAY(BigInteger)),
    needed("saturating", ARRAY(BigInteger)),
    needed("lasting_lanes", ARRAY(BigInteger)),
    needed("longest", ARRAY(BigInteger)),
    needed("arrived_per_s", ARRAY(DOUBLE_PRECISION)),
    needed("other_per_s", DOUBLE_PRECISION),
)

broadcast = Table(
    "broadcast",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("bot", Text, primary_key=True),
    needed("sent", BigInteger),
    needed("expired", BigInteger),
    needed("cancelled", BigInteger),
    needed("superseded", BigInteger),
    needed("discarded", BigInteger),
    needed("ended_before", BigInteger),
    needed("first_created_at", TIME),
    needed("last_finished_at", TIME),
)

finding = Table(
    "finding",
    metadata,
    Column("name", Text, primary_key=True),
    needed("found", BigInteger),
    needed("at", TIME),
)

tally = Table(
    "tally",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("error_class", Text, primary_key=True),
    needed("messages", BigInteger),
    needed("measured_at", TIME),
)

broadcast_mark = Table(
    "broadcast_mark",
    metadata,
    Column("only_row", BOOLEAN, primary_key=True, server_default=text("true")),
    needed("measured_at", TIME),
    needed("measured_xid", XID8),
    Column("before_at", TIME),
)
