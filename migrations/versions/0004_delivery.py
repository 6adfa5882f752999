"""Floods, breaker, brake, suppression evidence, and what an answer says: the columns behind delivery semantics."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE outbox.bot
            ADD breaker_probes            int NOT NULL DEFAULT 3 CHECK (breaker_probes > 0),
            ADD paid_broadcast_refused_at timestamptz;

        ALTER TABLE outbox.bucket
            ADD answered_cell_at timestamptz,
            ADD answered         int[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0}',
            ADD flooded          int[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0}',
            ADD flood_chats      text[] NOT NULL DEFAULT '{}',
            ADD flood_at         timestamptz[] NOT NULL DEFAULT '{}',
            ADD flood_until      timestamptz[] NOT NULL DEFAULT '{}',
            ADD ceiling          int,
            ADD probe_s          float8 NOT NULL DEFAULT 60,
            ADD lowered_in_a_row int NOT NULL DEFAULT 0,
            ADD trusted_until    timestamptz,
            ADD breaker_reason   text,
            ADD breaker_refused  int[] NOT NULL DEFAULT '{0,0,0,0,0,0}',
            ADD refused_chats    text[] NOT NULL DEFAULT '{}',
            ADD refused_at       timestamptz[] NOT NULL DEFAULT '{}',
            ADD probes           int NOT NULL DEFAULT 0,
            ADD probes_passed    int NOT NULL DEFAULT 0,
            ADD probes_refused   int NOT NULL DEFAULT 0,
            ADD probed_at        timestamptz,
            ADD probes_after     bigint NOT NULL DEFAULT 0;

        ALTER TABLE outbox.chat ADD suppressed_at timestamptz;

        ALTER TABLE outbox.attempt ADD correlation_id text, ADD tag text;
        ALTER TABLE outbox.finished ADD telegram_answer jsonb;

        CREATE TABLE outbox.breaker_change (
            id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            bot      text NOT NULL,
            at       timestamptz NOT NULL,
            breaker  text NOT NULL CHECK (breaker IN ('closed', 'open', 'half_open')),
            reason   text NOT NULL,
            until    timestamptz,
            answered int NOT NULL,
            failed   int NOT NULL,
            refused  int NOT NULL
        );
        CREATE INDEX breaker_change_bot ON outbox.breaker_change (bot, at);

        ALTER TYPE outbox.lane ADD ATTRIBUTE cost int;
        ALTER TYPE outbox.result
            ADD ATTRIBUTE meaning text,
            ADD ATTRIBUTE reach text,
            ADD ATTRIBUTE migrate_to text,
            ADD ATTRIBUTE telegram_answer jsonb,
            ADD ATTRIBUTE correlation_id text,
            ADD ATTRIBUTE tag text,
            ADD ATTRIBUTE cost int,
            ADD ATTRIBUTE suppresses boolean,
            ADD ATTRIBUTE wait_s float8;
        ALTER TYPE outbox.ending ADD ATTRIBUTE telegram_answer jsonb;

        -- Parts of claim that return more than they did, under names that are made anew from sql/.
        DROP FUNCTION IF EXISTS outbox.claim_lanes(
            bigint, text, int, jsonb, smallint[], timestamptz, int, int, boolean);
        DROP FUNCTION IF EXISTS outbox.head_of_lane(text, text, timestamptz);
        DROP FUNCTION IF EXISTS outbox.assign_slots(bigint, timestamptz[], outbox.lane[], int, boolean);
        DROP FUNCTION IF EXISTS outbox.take_slots(outbox.bucket, int, float8, timestamptz[], int[]);
        DROP FUNCTION IF EXISTS outbox.end_expired(text, text[], timestamptz, int);
        """
    )
