-- Promise: an operator's stop and "unauthorised" are gone; a pause by 429 and the breaker stay (I9). Idle workers hear
-- of it. false: there was nothing to clear.
-- Locks: the bot's bucket, for milliseconds.  Cost: one row, audited.
CREATE OR REPLACE FUNCTION outbox.resume(p_bot text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_bot text := outbox.require_bot(p_bot);
    v_changed boolean := outbox.stop_bucket(v_bot, false);
BEGIN
    PERFORM outbox.note_action('resume', jsonb_build_object('bot', v_bot), v_changed::int);
    -- A worker that was told to wait for nothing known must not find out by its next poll.
    PERFORM pg_notify('outbox_wakeup', v_bot);
    RETURN v_changed;
END $$;
COMMENT ON FUNCTION outbox.resume IS
    'Ends outbox.pause, and the stop after a refused bot token; other pauses end by themselves. Audited.';
