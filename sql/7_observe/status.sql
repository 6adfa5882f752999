-- Promise: where one message stands, for whoever inserted it: always one row. unknown: its transaction was never committed,
-- or it ended before what is kept. No payload, no chat.
-- Locks: nothing.  Cost: an index probe in each of the tables behind history.
CREATE OR REPLACE FUNCTION outbox.status(
    p_id bigint,
    OUT status text, OUT attempts int, OUT next_attempt_at timestamptz, OUT finished_at timestamptz,
    OUT telegram_message_id bigint, OUT error_class text, OUT error_text text, OUT cancel_requested boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    SELECT h.status, h.attempts, h.next_attempt_at, h.finished_at, h.telegram_message_id, h.error_class, h.error_text
      INTO status, attempts, next_attempt_at, finished_at, telegram_message_id, error_class, error_text
      -- A message that was put back and ended again has one row in finished: the last one counts all the same.
      FROM outbox.history h WHERE h.id = p_id ORDER BY h.finished_at DESC NULLS FIRST LIMIT 1;
    status := coalesce(status, 'unknown');
    cancel_requested := status IN ('queued', 'sending')
        AND coalesce((SELECT outbox.is_cancelled(m) FROM outbox.message m WHERE m.id = p_id), false);
END $$;
COMMENT ON FUNCTION outbox.status IS
    'Where one message stands: status as in outbox.history, or unknown; attempts, when it is tried next, Telegram''s message id, how it failed, whether a cancel was asked for.';
