-- Promise: the tables that delivery writes have every index of today's version. One that an upgrade brings is made as its
-- last act, just before the commit: whatever it waits for before that, delivery goes on. Returns how many were made.
-- Locks, in order: EXCLUSIVE on chat, then SHARE on dead_letter, finished, attempt, until the commit; none when nothing
-- is missing. EXCLUSIVE, so that FOR UPDATE waits as well: who delivers locks chats first, then writes to the other three,
-- then to chat. Behind SHARE a complete would have written to finished and wait for chat, and this for finished. Who goes
-- the other way round (outbox.forget) takes the key of migrations first.
-- Cost: what is made; results and claims wait for it, see docs/upgrading.md. Days that are there: outbox.index_history.
CREATE OR REPLACE FUNCTION outbox.make_indexes() RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_missing CONSTANT text[] := ARRAY(
        SELECT i.name || ' ' || i.place
          FROM (VALUES
            -- On columns that no send changes: updates of chat stay HOT.
            ('chat_suppressed', 'ON outbox.chat (chat_id, bot) WHERE suppressed_until IS NOT NULL'),
            ('chat_moved', 'ON outbox.chat (chat_id, bot) WHERE moved_to IS NOT NULL'),
            ('dead_letter_chat', 'ON outbox.dead_letter (chat_id, id)'),
            -- dead_letter_age goes a release later: to drop it is to wait for readers.
            ('dead_letter_order', 'ON outbox.dead_letter (died_at, id)'),
            ('finished_chat', 'ON ONLY outbox.finished (chat_id, id)'),
            ('finished_bot', 'ON ONLY outbox.finished (bot, id)'),
            ('finished_tag', 'ON ONLY outbox.finished (tag, id) WHERE tag IS NOT NULL'),
            ('finished_class', 'ON ONLY outbox.finished (error_class, id) WHERE error_class IS NOT NULL'),
            ('finished_status', 'ON ONLY outbox.finished (status, id) WHERE status <> ''sent'''),
            ('finished_unsent', 'ON ONLY outbox.finished (finished_at) WHERE status <> ''sent'''),
            ('attempt_answered', 'ON ONLY outbox.attempt (answered_at)')) i (name, place)
         WHERE to_regclass('outbox.' || i.name) IS NULL);
    v_index text;
BEGIN
    IF v_missing = '{}' THEN
        RETURN 0;
    END IF;
    LOCK TABLE outbox.chat IN EXCLUSIVE MODE;
    LOCK TABLE ONLY outbox.dead_letter, ONLY outbox.finished, ONLY outbox.attempt IN SHARE MODE;
    FOREACH v_index IN ARRAY v_missing LOOP
        EXECUTE 'CREATE INDEX ' || v_index;
    END LOOP;
    RETURN cardinality(v_missing);
END $$;
COMMENT ON FUNCTION outbox.make_indexes IS
    'Makes the indexes that the tables of delivery lack since an upgrade; results and claims wait meanwhile. Part of outbox migrate.';
