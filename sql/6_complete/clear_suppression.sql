-- Promise: these chats, arrays of chat and bot in step, may be sent to as if they had never been refused.
-- Locks: nothing, the caller holds the chats.  Cost: one probe each, one HOT update where there was something to clear.
CREATE OR REPLACE FUNCTION outbox.clear_suppression(p_chat_ids text[], p_bots text[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE outbox.chat c
       SET suppressed_until = NULL, suppressed_at = NULL, suppressed_reason = NULL, suppression_evidence = 0
      FROM unnest(p_chat_ids, p_bots) u (chat_id, bot)
     CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.chat k
                          WHERE k.chat_id = u.chat_id AND k.bot = u.bot
                            AND (k.suppressed_until IS NOT NULL OR k.suppression_evidence > 0) LIMIT 1) k
     WHERE c.ctid = k.ctid
$$;
COMMENT ON FUNCTION outbox.clear_suppression IS 'Forgets that chats were refused. Part of retry and lift_suppression.';
