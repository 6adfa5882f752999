"""Bots and their buckets, lanes, live messages and the wakeups that lead to them."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.bot (
            bot                   text PRIMARY KEY CHECK (bot ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
            rate                  int DEFAULT 30 CHECK (rate > 0),
            rate_window_s         float8 NOT NULL DEFAULT 1 CHECK (rate_window_s > 0),
            chat_interval_s       float8 NOT NULL DEFAULT 1 CHECK (chat_interval_s >= 0),
            group_limit           int DEFAULT 20 CHECK (group_limit > 0),
            group_window_s        float8 NOT NULL DEFAULT 60 CHECK (group_window_s > 0),
            backoff_initial_s     float8 NOT NULL DEFAULT 1 CHECK (backoff_initial_s > 0),
            backoff_factor        float8 NOT NULL DEFAULT 2 CHECK (backoff_factor >= 1),
            backoff_max_s         float8 NOT NULL DEFAULT 30 CHECK (backoff_max_s > 0),
            max_attempts          int NOT NULL DEFAULT 10 CHECK (max_attempts > 0),
            breaker_answers       int NOT NULL DEFAULT 20 CHECK (breaker_answers > 0),
            breaker_failure_share float8 NOT NULL DEFAULT 0.5
                CHECK (breaker_failure_share > 0 AND breaker_failure_share <= 1),
            breaker_open_s        float8 NOT NULL DEFAULT 10 CHECK (breaker_open_s > 0),
            breaker_open_max_s    float8 NOT NULL DEFAULT 60 CHECK (breaker_open_max_s > 0),
            idempotency_s         float8 NOT NULL DEFAULT 604800 CHECK (idempotency_s > 0),
            keep_payload          boolean NOT NULL DEFAULT true,
            telegram_id           bigint,
            created_at            timestamptz NOT NULL DEFAULT now()
        );

        CREATE TABLE outbox.bucket (
            bot                text PRIMARY KEY,
            free_at            timestamptz[] NOT NULL DEFAULT '{}',
            used_by            bigint[] NOT NULL DEFAULT '{}',
            active_tokens      int NOT NULL DEFAULT 0,
            last_slot          bigint NOT NULL DEFAULT 0,
            last_slot_at       timestamptz,
            theoretical_at     timestamptz,
            round_trip_since   timestamptz,
            round_trip_s       float8[] NOT NULL DEFAULT '{NULL,NULL}',
            round_trip_answers int[] NOT NULL DEFAULT '{0,0}',
            known_workers      bigint[] NOT NULL DEFAULT '{}',
            lowered_at         timestamptz,
            raised_at          timestamptz,
            breaker            text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
            breaker_until      timestamptz,
            breaker_opened     int NOT NULL DEFAULT 0,
            breaker_cell_at    timestamptz,
            breaker_answered   int[] NOT NULL DEFAULT '{0,0,0,0,0,0}',
            breaker_failed     int[] NOT NULL DEFAULT '{0,0,0,0,0,0}',
            paused_until       timestamptz,
            paused_reason      text,
            stopped            boolean NOT NULL DEFAULT false,
            unauthorised       boolean NOT NULL DEFAULT false
        ) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
                autovacuum_vacuum_cost_delay = 0);

        CREATE TABLE outbox.chat (
            chat_id              text COLLATE "C" NOT NULL,
            bot                  text NOT NULL,
            last_sent_at         timestamptz,
            next_send_at         timestamptz,
            group_sent_at        timestamptz[],
            in_flight            bigint,
            worker               bigint,
            attempt              int,
            claimed_at           timestamptz,
            backoff_until        timestamptz[] NOT NULL DEFAULT '{NULL,NULL,NULL,NULL}',
            suppressed_until     timestamptz,
            suppressed_reason    text,
            suppression_evidence int NOT NULL DEFAULT 0,
            moved_to             text COLLATE "C",
            PRIMARY KEY (chat_id, bot)
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
                autovacuum_vacuum_cost_delay = 0);

        CREATE TABLE outbox.message (
            id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            bot             text NOT NULL DEFAULT 'default',
            chat_id         text COLLATE "C" NOT NULL,
            method          text NOT NULL DEFAULT 'sendMessage',
            payload         jsonb NOT NULL,
            priority        smallint NOT NULL DEFAULT 2,
            next_attempt_at timestamptz NOT NULL DEFAULT now(),
            expires_at      timestamptz,
            max_attempts    int,
            correlation_id  text NOT NULL DEFAULT gen_random_uuid()::text,
            idempotency_key text,
            collapse_key    text,
            on_uncertain    text NOT NULL DEFAULT 'retry',
            tag             text,
            created_at      timestamptz NOT NULL DEFAULT now(),
            attempts        int NOT NULL DEFAULT 0,
            calls           int NOT NULL DEFAULT 0,
            last_error      text
        ) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
                autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.1);
        -- chat_id first: with bot first and no statistics the planner joins on bot alone (DESIGN section 4).
        CREATE INDEX message_lane ON outbox.message (chat_id, bot, priority, next_attempt_at, id);
        CREATE INDEX message_collapse ON outbox.message (chat_id, bot, collapse_key, id) WHERE collapse_key IS NOT NULL;
        CREATE INDEX message_tag ON outbox.message (tag, id) WHERE tag IS NOT NULL;

        CREATE TABLE outbox.wakeup (
            bot      text NOT NULL,
            priority smallint NOT NULL,
            due_at   timestamptz NOT NULL,
            chat_id  text COLLATE "C" NOT NULL
        ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
                autovacuum_vacuum_cost_delay = 0);
        ALTER TABLE outbox.wakeup REPLICA IDENTITY FULL;
        CREATE INDEX wakeup_due ON outbox.wakeup (bot, priority, due_at);

        CREATE TABLE outbox.request (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            chat_id      text COLLATE "C" NOT NULL,
            bot          text NOT NULL,
            message_id   bigint NOT NULL,
            requested_by text NOT NULL DEFAULT session_user,
            requested_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX request_lane ON outbox.request (chat_id, bot);

        CREATE TABLE outbox.stop (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tag          text NOT NULL,
            requested_by text NOT NULL DEFAULT session_user,
            requested_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX stop_tag ON outbox.stop (tag);

        CREATE TABLE outbox.idempotency (
            key        text NOT NULL,
            bot        text NOT NULL,
            message_id bigint NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (key, bot)
        );
        CREATE INDEX idempotency_expiry ON outbox.idempotency (expires_at);

        CREATE TYPE outbox.lane AS (
            chat_id    text,
            message_id bigint,
            priority   smallint,
            attempt    int,
            bytes      int,
            may_go_at  timestamptz
        );
        """
    )
