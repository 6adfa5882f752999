"""What happened: API calls, ended messages, dead letters, operators' actions."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.attempt (
            message_id    bigint NOT NULL,
            attempt       int NOT NULL,
            bot           text NOT NULL,
            chat_id       text COLLATE "C" NOT NULL,
            worker        bigint,
            started_at    timestamptz,
            answered_at   timestamptz NOT NULL,
            outcome       text NOT NULL,
            http_status   int,
            error_code    int,
            error_text    text,
            retry_after_s float8,
            error_class   text,
            late          boolean NOT NULL DEFAULT false
        ) PARTITION BY RANGE (answered_at);
        ALTER TABLE outbox.attempt REPLICA IDENTITY FULL;
        CREATE INDEX attempt_message ON outbox.attempt (message_id);

        CREATE TABLE outbox.finished (
            id                  bigint NOT NULL,
            bot                 text NOT NULL,
            chat_id             text COLLATE "C" NOT NULL,
            method              text NOT NULL,
            payload             jsonb,
            priority            smallint NOT NULL,
            status              text NOT NULL
                CHECK (status IN ('sent', 'expired', 'cancelled', 'superseded', 'discarded')),
            tag                 text,
            correlation_id      text NOT NULL,
            created_at          timestamptz NOT NULL,
            scheduled_for       timestamptz NOT NULL,
            finished_at         timestamptz NOT NULL,
            attempts            int NOT NULL,
            telegram_message_id bigint,
            error_class         text,
            error_text          text,
            worker              bigint,
            xid                 xid8 NOT NULL DEFAULT pg_current_xact_id(),
            PRIMARY KEY (id, finished_at)
        ) PARTITION BY RANGE (finished_at);
        CREATE INDEX finished_commit_order ON outbox.finished (xid, id);
        CREATE INDEX finished_correlation ON outbox.finished (correlation_id);

        CREATE TABLE outbox.dead_letter (
            id              bigint PRIMARY KEY,
            bot             text NOT NULL,
            chat_id         text COLLATE "C" NOT NULL,
            method          text NOT NULL,
            payload         jsonb NOT NULL,
            priority        smallint NOT NULL,
            status          text NOT NULL CHECK (status IN ('dead', 'uncertain')),
            tag             text,
            correlation_id  text NOT NULL,
            idempotency_key text,
            collapse_key    text,
            on_uncertain    text NOT NULL,
            created_at      timestamptz NOT NULL,
            scheduled_for   timestamptz NOT NULL,
            expires_at      timestamptz,
            died_at         timestamptz NOT NULL,
            attempts        int NOT NULL,
            calls           int NOT NULL,
            max_attempts    int,
            error_class     text,
            error_text      text,
            worker          bigint,
            xid             xid8 NOT NULL DEFAULT pg_current_xact_id()
        );
        CREATE INDEX dead_letter_class ON outbox.dead_letter (bot, error_class, died_at);
        CREATE INDEX dead_letter_commit_order ON outbox.dead_letter (xid, id);
        CREATE INDEX dead_letter_correlation ON outbox.dead_letter (correlation_id);
        CREATE INDEX dead_letter_age ON outbox.dead_letter (died_at);

        CREATE TABLE outbox.audit (
            id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at     timestamptz NOT NULL DEFAULT now(),
            who    text NOT NULL DEFAULT session_user,
            what   text NOT NULL,
            filter jsonb NOT NULL DEFAULT '{}',
            count  bigint
        );

        CREATE TYPE outbox.result AS (
            bot                 text,
            chat_id             text,
            message_id          bigint,
            attempt             int,
            outcome             text,
            answered_at         timestamptz,
            duration            interval,
            http_status         int,
            error_code          int,
            error_class         text,
            error_text          text,
            retry_after_s       float8,
            telegram_message_id bigint,
            owned               boolean,
            priority            smallint,
            spent               int,
            fate                text,
            repeated            boolean
        );

        CREATE TYPE outbox.ending AS (
            message_id          bigint,
            status              text,
            attempts            int,
            calls               int,
            telegram_message_id bigint,
            error_class         text,
            error_text          text,
            worker              bigint
        );
        """
    )
