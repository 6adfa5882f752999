-- Promise: what Telegram answered to a message that was sent, for the application to read: message_id, file ids. NULL:
-- it was not sent, or longer ago than history is kept.
-- Locks: nothing.  Cost: one index probe per kept day.
CREATE OR REPLACE FUNCTION outbox.telegram_answer(p_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    RETURN (SELECT coalesce(f.telegram_answer, jsonb_build_object('message_id', f.telegram_message_id))
              FROM outbox.finished f
             WHERE f.id = p_id AND f.status = 'sent'
               AND (f.telegram_answer IS NOT NULL OR f.telegram_message_id IS NOT NULL)
             ORDER BY f.finished_at DESC LIMIT 1);
END $$;
COMMENT ON FUNCTION outbox.telegram_answer IS
    'What Telegram answered to a sent message: message_id and file ids. NULL: not sent (yet), or no longer kept.';
