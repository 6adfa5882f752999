-- Promise: one row of attempt per API call; what was given back unsent was no call.
-- Locks: nothing.  Cost: one insert each.
CREATE OR REPLACE FUNCTION outbox.record_attempts(p_worker bigint, p_results outbox.result[]) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, worker, started_at, answered_at, outcome, http_status,
                                error_code, error_text, retry_after_s, error_class, late, correlation_id, tag)
    SELECT r.message_id, r.attempt, r.bot, r.chat_id, p_worker, r.answered_at - r.duration, r.answered_at, r.outcome,
           r.http_status, r.error_code, r.error_text, r.retry_after_s, r.error_class, NOT r.owned,
           r.correlation_id, r.tag
      FROM unnest(p_results) r WHERE r.outcome NOT IN ('unsent', 'discard') AND NOT r.repeated
$$;
COMMENT ON FUNCTION outbox.record_attempts IS 'Writes the history of API calls. Part of complete.';
