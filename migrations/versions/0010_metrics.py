"""What became of each bot's messages since the first count, and whether any was found astray: for metrics."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.tally (
            bot         text,
            method      text,
            status      text,
            error_class text,
            messages    bigint NOT NULL,
            measured_at timestamptz NOT NULL,
            PRIMARY KEY (bot, method, status, error_class)
        ) WITH (fillfactor = 50);
        CREATE TABLE outbox.finding (
            name  text PRIMARY KEY,
            found bigint NOT NULL,
            at    timestamptz NOT NULL
        );
        -- claim has got another column.
        DROP FUNCTION IF EXISTS outbox.claim(bigint, text[], int, jsonb);
        """
    )
