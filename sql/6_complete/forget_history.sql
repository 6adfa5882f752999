-- Promise: what finished and which calls were made stays on record, without chat, payload, texts and Telegram's
-- answers.
-- Returns how many rows changed. p_since: of finished only what transactions from that one on wrote, and the calls of
-- those.
-- Locks: the rows it changes.  Cost: without p_since every row of attempt is read, which has no index by chat: every call
-- would pay for it; with it, those finished since.
CREATE OR REPLACE FUNCTION outbox.forget_history(p_bot text, p_chat_id text, p_since xid8) RETURNS bigint
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_ids bigint[];
    v_calls bigint;
BEGIN
    WITH forgotten AS (
        UPDATE outbox.finished f
           SET chat_id = 'forgotten', payload = NULL, error_text = NULL, telegram_answer = NULL
         WHERE f.chat_id = p_chat_id AND f.bot = p_bot AND (p_since IS NULL OR f.xid >= p_since)
        RETURNING f.id)
    SELECT coalesce(array_agg(g.id), '{}') INTO v_ids FROM forgotten g;
    WITH forgotten AS (
        UPDATE outbox.attempt a SET chat_id = 'forgotten', error_text = NULL
         WHERE a.chat_id = p_chat_id AND a.bot = p_bot AND (p_since IS NULL OR a.message_id = ANY (v_ids))
        RETURNING 1)
    SELECT count(*) INTO v_calls FROM forgotten;
    RETURN cardinality(v_ids) + v_calls;
END $$;
COMMENT ON FUNCTION outbox.forget_history IS 'Takes chat and content out of finished and attempt. Part of forget.';
