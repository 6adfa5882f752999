"""The tables as SQLAlchemy Core metadata: for queries typed in Python; a test holds it equal to the migrations.

All of them, outbox.message too: accept/ must be importable without SQLAlchemy. Here is what deciding needs, in
records.py what happened. CHECK constraints, storage settings and partitions are the migrations' own; what a column
means is in its COMMENT (sql/9_grant/comments.sql).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, BOOLEAN, DOUBLE_PRECISION, JSONB

from outbox.database import records as records
from outbox.database.columns import CHAT_ID, TIME, XID8, metadata, needed, numbered

bot = Table(
    "bot",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("rate", Integer, server_default=text("30")),
    needed("rate_window_s", DOUBLE_PRECISION, "1"),
    needed("chat_interval_s", DOUBLE_PRECISION, "1"),
    Column("group_limit", Integer, server_default=text("20")),
    needed("group_window_s", DOUBLE_PRECISION, "60"),
    needed("backoff_initial_s", DOUBLE_PRECISION, "1"),
    needed("backoff_factor", DOUBLE_PRECISION, "2"),
    needed("backoff_max_s", DOUBLE_PRECISION, "30"),
    needed("max_attempts", Integer, "10"),
    needed("breaker_answers", Integer, "20"),
    needed("breaker_failure_share", DOUBLE_PRECISION, "0.5"),
    needed("breaker_open_s", DOUBLE_PRECISION, "10"),
    needed("breaker_open_max_s", DOUBLE_PRECISION, "60"),
    needed("idempotency_s", DOUBLE_PRECISION, "604800"),
    needed("keep_payload", BOOLEAN, "true"),
    Column("telegram_id", BigInteger),
    needed("created_at", TIME, "now()"),
    needed("breaker_probes", Integer, "3"),
    Column("paid_broadcast_refused_at", TIME),
)

bucket = Table(
    "bucket",
    metadata,
    Column("bot", Text, primary_key=True),
    needed("free_at", ARRAY(TIME), "'{}'::timestamptz[]"),
    needed("used_by", ARRAY(BigInteger), "'{}'::bigint[]"),
    needed("active_tokens", Integer, "0"),
    needed("last_slot", BigInteger, "0"),
    Column("last_slot_at", TIME),
    Column("theoretical_at", TIME),
    Column("round_trip_since", TIME),
    needed("round_trip_s", ARRAY(DOUBLE_PRECISION), "'{NULL,NULL}'::float8[]"),
    needed("round_trip_answers", ARRAY(Integer), "'{0,0}'::int[]"),
    needed("known_workers", ARRAY(BigInteger), "'{}'::bigint[]"),
    Column("lowered_at", TIME),
    Column("raised_at", TIME),
    needed("breaker", Text, "'closed'"),
    Column("breaker_until", TIME),
    needed("breaker_opened", Integer, "0"),
    Column("breaker_cell_at", TIME),
    needed("breaker_answered", ARRAY(Integer), "'{0,0,0,0,0,0}'::int[]"),
    needed("breaker_failed", ARRAY(Integer), "'{0,0,0,0,0,0}'::int[]"),
    Column("paused_until", TIME),
    Column("paused_reason", Text),
    needed("stopped", BOOLEAN, "false"),
    needed("unauthorised", BOOLEAN, "false"),
    Column("answered_cell_at", TIME),
    needed("answered", ARRAY(Integer), "'{0,0,0,0,0,0,0,0,0,0}'::int[]"),
    needed("flooded", ARRAY(Integer), "'{0,0,0,0,0,0,0,0,0,0}'::int[]"),
    needed("flood_chats", ARRAY(Text), "'{}'::text[]"),
    needed("flood_at", ARRAY(TIME), "'{}'::timestamptz[]"),
    needed("flood_until", ARRAY(TIME), "'{}'::timestamptz[]"),
    Column("ceiling", Integer),
    needed("probe_s", DOUBLE_PRECISION, "60"),
    needed("lowered_in_a_row", Integer, "0"),
    Column("trusted_until", TIME),
    Column("breaker_reason", Text),
    needed("breaker_refused", ARRAY(Integer), "'{0,0,0,0,0,0}'::int[]"),
    needed("refused_chats", ARRAY(Text), "'{}'::text[]"),
    needed("refused_at", ARRAY(TIME), "'{}'::timestamptz[]"),
    needed("probes", Integer, "0"),
    needed("probes_passed", Integer, "0"),
    needed("probes_refused", Integer, "0"),
    Column("probed_at", TIME),
    needed("probes_after", BigInteger, "0"),
    needed("reply_run", Integer, "0"),
    needed("kept_at", ARRAY(TIME), "'{}'::timestamptz[]"),
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
    needed("backoff_until", ARRAY(TIME), "'{NULL,NULL,NULL,NULL}'::timestamptz[]"),
    Column("suppressed_until", TIME),
    Column("suppressed_reason", Text),
    needed("suppression_evidence", Integer, "0"),
    Column("moved_to", CHAT_ID),
    Column("suppressed_at", TIME),
    Column("replied_at", TIME),
    Index("chat_suppressed", "chat_id", "bot", postgresql_where=text("suppressed_until IS NOT NULL")),
    Index("chat_moved", "chat_id", "bot", postgresql_where=text("moved_to IS NOT NULL")),
)

message = Table(
    "message",
    metadata,
    numbered(),
    needed("bot", Text, "'default'"),
    needed("chat_id", CHAT_ID),
    needed("method", Text, "'sendMessage'"),
    needed("payload", JSONB),
    needed("priority", SmallInteger, "2"),
    needed("next_attempt_at", TIME, "now()"),
    Column("expires_at", TIME),
    Column("max_attempts", Integer),
    needed("correlation_id", Text, "gen_random_uuid()::text"),
    Column("idempotency_key", Text),
    Column("collapse_key", Text),
    needed("on_uncertain", Text, "'retry'"),
    Column("tag", Text),
    needed("created_at", TIME, "now()"),
    needed("attempts", Integer, "0"),
    needed("calls", Integer, "0"),
    Column("last_error", Text),
    Column("target_id", BigInteger),
    Index("message_lane", "chat_id", "bot", "priority", "next_attempt_at", "id"),
    Index(
        "message_collapse",
        "chat_id",
        "bot",
        "collapse_key",
        text("coalesce(target_id, '0'::bigint)"),
        "next_attempt_at",
        "id",
        postgresql_where=text("collapse_key IS NOT NULL"),
    ),
    Index("message_correlation", "correlation_id"),
    Index("message_tag", "tag", "id", postgresql_where=text("tag IS NOT NULL")),
)

wakeup = Table(
    "wakeup",
    metadata,
    needed("bot", Text),
    needed("priority", SmallInteger),
    needed("due_at", TIME),
    needed("chat_id", CHAT_ID),
    Index("wakeup_due", "bot", "priority", "due_at"),
)

ticket = Table(
    "ticket",
    metadata,
    Column("ticket", BigInteger, Identity(always=True), primary_key=True),
    needed("bot", Text),
    needed("chat_id", CHAT_ID),
    needed("slot", BigInteger),
    needed("slot_at", TIME),
    Column("waited_until", TIME),
    needed("next_send_at", TIME),
    needed("runs_out_at", TIME),
)

request = Table(
    "request",
    metadata,
    numbered(),
    needed("chat_id", CHAT_ID),
    needed("bot", Text),
    needed("message_id", BigInteger),
    needed("requested_by", Text, "session_user"),
    needed("requested_at", TIME, "now()"),
    Index("request_lane", "chat_id", "bot"),
    Index("request_message", "message_id"),
)

stop = Table(
    "stop",
    metadata,
    numbered(),
    needed("tag", Text),
    needed("requested_by", Text, "session_user"),
    needed("requested_at", TIME, "now()"),
    Column("bot", Text),
    needed("up_to_id", BigInteger),
    Column("xid", XID8),
    Index("stop_tag", "tag", "up_to_id"),
)

watch = Table(
    "watch",
    metadata,
    numbered(),
    needed("message_id", BigInteger),
    needed("until", TIME),
    Index("watch_message", "message_id"),
    Index("watch_until", "until"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", Text, primary_key=True),
    Column("bot", Text, primary_key=True),
    needed("message_id", BigInteger),
    needed("expires_at", TIME),
    Index("idempotency_expiry", "expires_at"),
)

worker = Table(
    "worker",
    metadata,
    numbered(),
    needed("name", Text),
    needed("bots", ARRAY(Text)),
    Column("host", Text),
    Column("pid", Integer),
    Column("version", Text),
    needed("idle", BOOLEAN, "true"),
    needed("started_at", TIME),
    needed("heartbeat_at", TIME),
    needed("lease_until", TIME),
    Column("ended_at", TIME),
    needed("reaped", BOOLEAN, "false"),
    Index("worker_alive", "id", postgresql_where=text("ended_at IS NULL")),
)

identity = Table(
    "identity",
    metadata,
    Column("only_row", BOOLEAN, primary_key=True, server_default=text("true")),
    needed("environment", Text),
    needed("system_identifier", Text),
    needed("adopted_at", TIME),
)
