"""What waits per bot, as outbox.pressure needs it."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.backlog (
            bot           text PRIMARY KEY,
            measured_at   timestamptz NOT NULL,
            measured_xid  xid8 NOT NULL,
            last_slot     bigint NOT NULL,
            due           bigint[] NOT NULL,
            heads         bigint[] NOT NULL,
            saturating    bigint[] NOT NULL,
            lasting_lanes bigint[] NOT NULL,
            longest       bigint[] NOT NULL,
            arrived_per_s float8[] NOT NULL,
            other_per_s   float8 NOT NULL
        ) WITH (fillfactor = 50);
        """
    )
