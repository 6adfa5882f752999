"""Who this database believes it is: a copy of it must not send everything again."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.identity (
            only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            environment       text NOT NULL,
            system_identifier text NOT NULL,
            adopted_at        timestamptz NOT NULL
        );
        """
    )
