-- Promise: find_messages whose text is looked for in the payload too, of the newest 20,000 messages that meet the rest, as
-- far back as their payloads take 20 MB. No payload is shown. For those who may read messages.
-- Locks: nothing.  Cost: see match_messages; and reading those payloads.
CREATE OR REPLACE FUNCTION outbox.find_in_payloads(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_limit int DEFAULT 50,
    p_priority int DEFAULT NULL)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text)
LANGUAGE plpgsql STABLE SET jit = off ROWS 50 AS $$
BEGIN
    RETURN QUERY
    SELECT m.id, m.bot, m.chat_id, m.method, m.priority, m.status, m.tag, m.correlation_id, m.created_at, m.scheduled_for,
           m.next_attempt_at, m.finished_at, m.attempts, m.telegram_message_id, m.error_class, m.error_text
      FROM outbox.show_messages(p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text,
                                p_before_id, p_limit, p_priority, true) m
     WHERE m.id IS NOT NULL;
END $$;
COMMENT ON FUNCTION outbox.find_in_payloads IS
    'find_messages whose text may stand in the payload too: of the newest 20,000 messages that meet the rest, and no more than 20 MB of payloads. For admins.';

-- Promise: the same, and on each row how far the search went, as search_messages says it.
-- Locks: nothing.  Cost: see above.
CREATE OR REPLACE FUNCTION outbox.search_in_payloads(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_limit int DEFAULT 50,
    p_priority int DEFAULT NULL)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text, complete boolean, reached_id bigint,
    reached_at timestamptz)
LANGUAGE plpgsql STABLE SET jit = off ROWS 50 AS $$
BEGIN
    RETURN QUERY SELECT * FROM outbox.show_messages(
        p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text, p_before_id, p_limit,
        p_priority, true);
END $$;
COMMENT ON FUNCTION outbox.search_in_payloads IS
    'search_messages whose text may stand in the payload too; 20 MB of payloads are a limit as well. For admins.';
