"""Batches of dead letters. The indexes that come with them: outbox.make_indexes, the last act of an upgrade."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE outbox.batch (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            verb         text NOT NULL CHECK (verb IN ('retry', 'discard')),
            filter       jsonb NOT NULL,
            requested_by text NOT NULL,
            requested_at timestamptz NOT NULL,
            per_s        float8 CHECK (per_s BETWEEN 1e-6 AND 1e6),
            total        bigint NOT NULL,
            done         bigint NOT NULL DEFAULT 0,
            failed       bigint NOT NULL DEFAULT 0,
            state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
            finished_at  timestamptz,
            last_error   text,
            due_at       timestamptz NOT NULL,
            step_size    int NOT NULL DEFAULT 200 CHECK (step_size BETWEEN 1 AND 200),
            paced_at     timestamptz,
            reached_at   timestamptz,
            reached_id   bigint,
            found        bigint NOT NULL DEFAULT 0,
            key          text UNIQUE
        ) WITH (fillfactor = 50);
        CREATE INDEX batch_unfinished ON outbox.batch (due_at, id) WHERE finished_at IS NULL;
        """
    )
