-- Promise: dead letters whose late answer says "sent" become finished, instead of being sent again by a person (I7); ids
-- that are no dead letters are left alone. Returns how many.
-- Locks: the dead letters; the caller holds their lanes.  Cost: one probe each.
CREATE OR REPLACE FUNCTION outbox.resolve_dead_letters(p_endings outbox.ending[]) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH resolved AS (
        DELETE FROM outbox.dead_letter d
         USING unnest(p_endings) e
         CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.dead_letter k WHERE k.id = e.message_id LIMIT 1) k
         WHERE d.ctid = k.ctid
        RETURNING d.*, e.telegram_message_id, e.worker AS told_by, e.telegram_answer),
    moved AS (
        INSERT INTO outbox.finished (
            id, bot, chat_id, method, payload, priority, status, tag, correlation_id, created_at, scheduled_for,
            finished_at, attempts, telegram_message_id, worker, telegram_answer)
        SELECT r.id, r.bot, r.chat_id, r.method,
               CASE WHEN (SELECT o.keep_payload FROM outbox.bot o WHERE o.bot = r.bot) THEN r.payload END, r.priority,
               'sent', r.tag, r.correlation_id, r.created_at, r.scheduled_for, outbox.clock(), r.attempts,
               r.telegram_message_id, r.told_by, r.telegram_answer
          FROM resolved r
        RETURNING 1)
    SELECT count(*) FROM moved
$$;
COMMENT ON FUNCTION outbox.resolve_dead_letters IS 'A late "sent" turns dead letters into finished messages.';
