-- Promise: the bot's name as it is stored, or one clear line.  Locks: nothing.  Cost: one probe.
CREATE OR REPLACE FUNCTION outbox.require_bot(p_bot text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM outbox.bot o WHERE o.bot = lower(p_bot COLLATE "C") COLLATE "default") OR p_bot IS NULL THEN
        RAISE EXCEPTION 'bot "%" does not exist', coalesce(left(p_bot, 80), 'NULL') USING
            ERRCODE = 'foreign_key_violation', HINT = 'Use the name of a row in outbox.bot.';
    END IF;
    RETURN lower(p_bot COLLATE "C");
END $$;
COMMENT ON FUNCTION outbox.require_bot IS 'Refuses a bot that does not exist. Part of what operators call.';
