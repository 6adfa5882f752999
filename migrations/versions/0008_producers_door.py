"""Cancels, tags that stop, targets, whoever waits for an end, and what became of each broadcast."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE outbox.message ADD target_id bigint;
        ALTER TABLE outbox.dead_letter ADD target_id bigint;
        CREATE INDEX message_correlation ON outbox.message (correlation_id);
        -- With the time, so that what is scheduled under a key is not walked through for what is due.
        DROP INDEX outbox.message_collapse;
        CREATE INDEX message_collapse
            ON outbox.message (chat_id, bot, collapse_key, coalesce(target_id, 0::bigint), next_attempt_at, id)
            WHERE collapse_key IS NOT NULL;
        CREATE INDEX dead_letter_tag ON outbox.dead_letter (tag, status) WHERE tag IS NOT NULL;

        -- Both tables were empty: nothing wrote to them.
        ALTER TABLE outbox.stop
            ADD bot text, ADD up_to_id bigint NOT NULL, ADD xid xid8;
        DROP INDEX outbox.stop_tag;
        CREATE INDEX stop_tag ON outbox.stop (tag, up_to_id);

        -- A cancel is found by its message too: the chat may have moved meanwhile.
        CREATE INDEX request_message ON outbox.request (message_id);

        CREATE TABLE outbox.watch (
            id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            message_id bigint NOT NULL,
            until      timestamptz NOT NULL
        );
        CREATE INDEX watch_message ON outbox.watch (message_id);
        CREATE INDEX watch_until ON outbox.watch (until);

        CREATE TABLE outbox.broadcast (
            tag              text NOT NULL,
            bot              text NOT NULL,
            sent             bigint NOT NULL,
            expired          bigint NOT NULL,
            cancelled        bigint NOT NULL,
            superseded       bigint NOT NULL,
            discarded        bigint NOT NULL,
            ended_before     bigint NOT NULL,
            first_created_at timestamptz NOT NULL,
            last_finished_at timestamptz NOT NULL,
            PRIMARY KEY (tag, bot)
        ) WITH (fillfactor = 50);

        CREATE TABLE outbox.broadcast_mark (
            only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
            measured_at  timestamptz NOT NULL,
            measured_xid xid8 NOT NULL,
            before_at    timestamptz
        );

        -- Its tests are cheaper now; sql/ makes it anew.
        DROP TRIGGER IF EXISTS refuse_bad_input ON outbox.message;

        -- Parts of claim that take or return more than they did, under names that are made anew from sql/.
        DROP FUNCTION IF EXISTS outbox.head_of_lane(text, text, timestamptz);
        """
    )
