-- Promise: a worker that gets no row may deliver: environment, database and bots are those that the database remembers.
-- What it does not remember yet (a fresh database, a bot's first worker) it remembers from now on, unless anything
-- differs. A worker that gets a row delivers nothing: this may be a copy, whose messages the original sends.
-- Locks: bots without a telegram_id, in order.  Cost: one row of bot per bot; writes at a bot's first worker only.
CREATE OR REPLACE FUNCTION outbox.check_identity(p_environment text, p_telegram_ids jsonb)
RETURNS TABLE (what text, bot text, remembered text, present text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO outbox.identity (environment, system_identifier, adopted_at)
    SELECT p_environment, outbox.database_key(), outbox.clock()
     WHERE NOT EXISTS (SELECT FROM outbox.identity)
    ON CONFLICT DO NOTHING;
    IF NOT EXISTS (SELECT FROM outbox.identity_differs(p_environment, p_telegram_ids)) THEN
        PERFORM FROM outbox.bot o WHERE p_telegram_ids ? o.bot AND o.telegram_id IS NULL
          ORDER BY o.bot FOR NO KEY UPDATE;
        UPDATE outbox.bot o SET telegram_id = (p_telegram_ids ->> o.bot)::bigint
         WHERE p_telegram_ids ? o.bot AND o.telegram_id IS NULL;
    END IF;
    -- Asked again: of two first workers with different bots the second must see what the first one wrote.
    RETURN QUERY SELECT * FROM outbox.identity_differs(p_environment, p_telegram_ids);
END $$;
COMMENT ON FUNCTION outbox.check_identity IS
    'Whether a worker with this identity may deliver: no row, it may. Remembers what is new. For workers.';
