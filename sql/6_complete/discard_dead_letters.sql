-- Promise: these dead letters are history: moved to finished as discarded. error_class says why they ended so (p_why),
-- the text stays what the last call said; its class stays in attempt. Returns how many.
-- Locks: the dead letters.  Cost: one delete and one insert each.
CREATE OR REPLACE FUNCTION outbox.discard_dead_letters(p_ids bigint[], p_why text) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH gone AS (DELETE FROM outbox.dead_letter d WHERE d.id = ANY (p_ids) RETURNING d.*),
    moved AS (
        INSERT INTO outbox.finished (
            id, bot, chat_id, method, payload, priority, status, tag, correlation_id, created_at, scheduled_for,
            finished_at, attempts, error_class, error_text, worker)
        SELECT g.id, g.bot, g.chat_id, g.method,
               CASE WHEN (SELECT o.keep_payload FROM outbox.bot o WHERE o.bot = g.bot) THEN g.payload END, g.priority,
               'discarded', g.tag, g.correlation_id, g.created_at, g.scheduled_for, outbox.clock(), g.attempts,
               p_why, g.error_text, g.worker
          FROM gone g
        RETURNING 1)
    SELECT count(*) FROM moved
$$;
COMMENT ON FUNCTION outbox.discard_dead_letters IS 'Moves dead letters to finished as discarded.';
