-- Promise: these results in the light of what is on record. An attempt that failed while an earlier one turned out as sent
-- ends its message as sent: the truth is not thrown away (I7). A late result that was told before, because the answer to
-- that was lost, is marked as repeated: it is neither recorded nor counted again.
-- Locks: nothing, the caller holds the chats.  Cost: a probe of attempt in each of its partitions, for late results and for
-- failures of later attempts only.
CREATE OR REPLACE FUNCTION outbox.recall_attempts(p_worker bigint, p_results outbox.result[]) RETURNS outbox.result[]
LANGUAGE sql STABLE AS $$
    SELECT ARRAY(
        SELECT ROW(r.bot, r.chat_id, r.message_id, r.attempt, r.outcome, r.answered_at, r.duration, r.http_status,
                   r.error_code, r.error_class, r.error_text, r.retry_after_s, r.telegram_message_id, r.owned, r.priority,
                   r.spent,
                   CASE WHEN r.owned AND r.attempt > 1 AND r.outcome <> 'sent'
                         AND (EXISTS (SELECT FROM outbox.attempt a WHERE a.message_id = r.message_id AND a.outcome = 'sent')
                              OR EXISTS (SELECT FROM unnest(p_results) o
                                          WHERE o.message_id = r.message_id AND o.outcome = 'sent'))
                        THEN 'sent' ELSE r.fate END,
                   NOT r.owned AND EXISTS (
                       SELECT FROM outbox.attempt a
                        WHERE a.message_id = r.message_id AND a.attempt = r.attempt AND a.worker = p_worker
                          AND a.outcome = r.outcome),
                   r.meaning, r.reach, r.migrate_to, r.telegram_answer, r.correlation_id, r.tag, r.cost, r.suppresses,
                   r.wait_s)::outbox.result
          FROM unnest(p_results) r)
$$;
COMMENT ON FUNCTION outbox.recall_attempts IS 'Judges late and later results by what is on record. Part of complete.';
