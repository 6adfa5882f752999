-- Promise: one NOTIFY on channel outbox_ended, payload the id, when the message ends within p_for_s seconds; its status now.
-- LISTEN first, then call this with autocommit. A message that ends while this call commits may ring nobody: look again
-- (outbox.status) every few seconds beneath.
-- Asked for and not sent for every message, because NOTIFY serialises commits (I4).
-- Locks: nothing, a row is appended.  Cost: a row, and what status costs.
CREATE OR REPLACE FUNCTION outbox.watch(
    p_id bigint, p_for_s float8 DEFAULT 60,
    OUT status text, OUT attempts int, OUT next_attempt_at timestamptz, OUT finished_at timestamptz,
    OUT telegram_message_id bigint, OUT error_class text, OUT error_text text, OUT cancel_requested boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_id IS NULL OR p_for_s IS NULL OR NOT p_for_s BETWEEN 0 AND 86400 THEN
        RAISE EXCEPTION 'cannot watch message % for % s', coalesce(p_id::text, 'NULL'), coalesce(p_for_s::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an id and up to 86400 seconds, then call it again.';
    END IF;
    -- Who asks again and again needs no row each time, and what has ended none.
    INSERT INTO outbox.watch (message_id, until)
    SELECT p_id, outbox.clock() + make_interval(secs => p_for_s)
     WHERE EXISTS (SELECT FROM outbox.message m WHERE m.id = p_id)
       AND NOT EXISTS (SELECT FROM outbox.watch w
                        WHERE w.message_id = p_id AND w.until >= outbox.clock() + make_interval(secs => greatest(p_for_s - 5, p_for_s / 2)));
    SELECT s.* INTO status, attempts, next_attempt_at, finished_at, telegram_message_id, error_class, error_text,
                    cancel_requested
      FROM outbox.status(p_id) s;
END $$;
COMMENT ON FUNCTION outbox.watch IS
    'Asks for a NOTIFY on channel outbox_ended (payload: the id) when the message ends within p_for_s seconds; returns its status now. LISTEN first, call it with autocommit, and look at outbox.status every few seconds beneath.';
