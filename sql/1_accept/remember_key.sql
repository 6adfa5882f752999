-- Promise: a second message with an idempotency key of the same bot inserts nothing and raises nothing: an error would
-- abort the writer's business transaction.
-- Locks: the key (a writer waits for the one that holds the same key: the exception to I4).  Cost: one row, keyed rows only.
CREATE OR REPLACE FUNCTION outbox.remember_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Look first: ON CONFLICT DO UPDATE would lock the key's row although its WHERE is false, and two transactions that
    -- only repeat an old key would wait for each other.
    IF EXISTS (SELECT FROM outbox.idempotency i
                WHERE i.key = NEW.idempotency_key AND i.bot = NEW.bot AND i.expires_at > outbox.clock()) THEN
        RETURN NULL;
    END IF;
    INSERT INTO outbox.idempotency AS i (key, bot, message_id, expires_at)
    SELECT NEW.idempotency_key, b.bot, NEW.id, outbox.clock() + make_interval(secs => b.idempotency_s)
      FROM outbox.bot b WHERE b.bot = NEW.bot
    ON CONFLICT (key, bot) DO UPDATE SET message_id = excluded.message_id, expires_at = excluded.expires_at
     WHERE i.expires_at <= outbox.clock();
    -- An unknown bot passes: the statement trigger has the better words for it.
    IF NOT FOUND AND EXISTS (SELECT FROM outbox.bot b WHERE b.bot = NEW.bot) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION outbox.remember_key IS
    'Trigger of outbox.message: a repeated idempotency_key inserts nothing until bot.idempotency_s has passed.';

DO $$
BEGIN
    -- The name sorts after refuse_bad_input: a refused row must not use up its key.
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'outbox.message'::regclass AND tgname = 'remember_key') THEN
        CREATE TRIGGER remember_key BEFORE INSERT ON outbox.message FOR EACH ROW
        WHEN (NEW.idempotency_key IS NOT NULL) EXECUTE FUNCTION outbox.remember_key();
    END IF;
END $$;
