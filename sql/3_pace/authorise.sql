-- Promise: the bot is served again: a worker has a bot token for it that Telegram takes. Clears nothing but "unauthorised".
-- Returns whether it was unauthorised.
-- Locks: the bot's bucket, for a moment.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.authorise(p_bot text, p_telegram_id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outbox.bucket b SET unauthorised = false WHERE b.bot = p_bot AND b.unauthorised;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('outbox_wakeup', p_bot);
    RETURN true;
END $$;
COMMENT ON FUNCTION outbox.authorise IS
    'Ends the pause of a bot whose token was refused, after getMe worked with another. For workers.';
