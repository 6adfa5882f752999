"""Who delivers, who keeps house, and what it last counted."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.worker (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name         text NOT NULL,
            bots         text[] NOT NULL,
            host         text,
            pid          int,
            version      text,
            idle         boolean NOT NULL DEFAULT true,
            started_at   timestamptz NOT NULL,
            heartbeat_at timestamptz NOT NULL,
            lease_until  timestamptz NOT NULL,
            ended_at     timestamptz,
            reaped       boolean NOT NULL DEFAULT false
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
        -- Every insert of a message asks who is idle: the ended must not be walked through.
        CREATE INDEX worker_alive ON outbox.worker (id) WHERE ended_at IS NULL;

        CREATE TABLE outbox.housekeeping (
            duty             text PRIMARY KEY,
            holder           text,
            lease_until      timestamptz,
            last_run_at      timestamptz,
            last_error       text,
            runs             bigint NOT NULL DEFAULT 0,
            wakeups_repaired bigint NOT NULL DEFAULT 0
        ) WITH (fillfactor = 50);

        CREATE TABLE outbox.release (
            digest     text PRIMARY KEY,
            applied_at timestamptz NOT NULL
        );

        CREATE TABLE outbox.depth (
            bot          text NOT NULL,
            priority     smallint NOT NULL,
            depth        bigint NOT NULL,
            due          bigint NOT NULL,
            scheduled    bigint NOT NULL,
            retrying     bigint NOT NULL,
            oldest_age_s float8 NOT NULL,
            measured_at  timestamptz NOT NULL,
            PRIMARY KEY (bot, priority)
        );
        """
    )
