-- Promise: from the next claim on the bot is given nothing, until outbox.resume; what was claimed before is still sent,
-- and everything keeps its place. false: it was stopped already.
-- Locks: the bot's bucket, for milliseconds.  Cost: one row, audited.
CREATE OR REPLACE FUNCTION outbox.pause(p_bot text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_bot text := outbox.require_bot(p_bot);
    v_changed boolean := outbox.stop_bucket(v_bot, true);
BEGIN
    PERFORM outbox.note_action('pause', jsonb_build_object('bot', v_bot), v_changed::int);
    RETURN v_changed;
END $$;
COMMENT ON FUNCTION outbox.pause IS 'Stops sending with a bot until outbox.resume; messages wait. Audited.';
