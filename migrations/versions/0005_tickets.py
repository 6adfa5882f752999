"""Slots that a bot takes for replies it sends itself."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.ticket (
            ticket       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            bot          text NOT NULL,
            chat_id      text COLLATE "C" NOT NULL,
            slot         bigint NOT NULL,
            slot_at      timestamptz NOT NULL,
            waited_until timestamptz,
            next_send_at timestamptz NOT NULL,
            runs_out_at  timestamptz NOT NULL
        ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
                autovacuum_vacuum_cost_delay = 0);

        ALTER TABLE outbox.chat ADD replied_at timestamptz;

        ALTER TABLE outbox.bucket
            ADD reply_run int NOT NULL DEFAULT 0,
            ADD kept_at   timestamptz[] NOT NULL DEFAULT '{}';
        """
    )
