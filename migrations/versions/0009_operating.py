"""Batches of dead letters, and the indexes by which people find messages, chats and what happened lately."""

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
            per_s        float8 CHECK (per_s > 0),
            total        bigint NOT NULL,
            done         bigint NOT NULL DEFAULT 0,
            state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
            finished_at  timestamptz,
            last_error   text,
            paced_at     timestamptz,
            reached_at   timestamptz,
            key          text UNIQUE
        ) WITH (fillfactor = 50);
        CREATE INDEX batch_unfinished ON outbox.batch (id) WHERE finished_at IS NULL;

        -- ON ONLY: days that are there get theirs from outbox.index_history, when nobody writes to them any more.
        CREATE INDEX finished_chat ON ONLY outbox.finished (chat_id, id);
        CREATE INDEX finished_bot ON ONLY outbox.finished (bot, id);
        CREATE INDEX finished_tag ON ONLY outbox.finished (tag, id) WHERE tag IS NOT NULL;
        CREATE INDEX finished_class ON ONLY outbox.finished (error_class, id) WHERE error_class IS NOT NULL;
        CREATE INDEX finished_status ON ONLY outbox.finished (status, id) WHERE status <> 'sent';
        CREATE INDEX finished_unsent ON ONLY outbox.finished (finished_at) WHERE status <> 'sent';
        CREATE INDEX attempt_answered ON ONLY outbox.attempt (answered_at);

        CREATE INDEX dead_letter_chat ON outbox.dead_letter (chat_id, id);

        -- On columns that no send changes: updates of chat stay HOT.
        CREATE INDEX chat_suppressed ON outbox.chat (chat_id, bot) WHERE suppressed_until IS NOT NULL;
        CREATE INDEX chat_moved ON outbox.chat (chat_id, bot) WHERE moved_to IS NOT NULL;
        """
    )
