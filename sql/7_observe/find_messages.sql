-- Promise: messages that meet every condition given, newest id first, as outbox.history shows them; the next page begins
-- with p_before_id: the last id of this one. No payload.
-- Locks: nothing.  Cost: see match_messages; and a few probes per row returned.
CREATE OR REPLACE FUNCTION outbox.find_messages(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_limit int DEFAULT 50)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 50 AS $$
BEGIN
    RETURN QUERY SELECT * FROM outbox.show_messages(
        p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text, p_before_id, p_limit, false);
END $$;
COMMENT ON FUNCTION outbox.find_messages IS
    'Messages by status (several), bot, chat, tag, correlation id, error class, time of writing (since, until) and text, newest first; all conditions given must hold. Text: part of error_text, tag or correlation_id, in any case, of the newest 20,000 that meet the rest. Of what no index leads to, the newest 100,000 are looked at. A transaction that stayed open for more than 10 minutes may hide at the end of a time. Next page: p_before_id, the last id.';

-- Promise: how many find_messages would find, counted up to p_most.
-- Locks: nothing.  Cost: see match_messages.
CREATE OR REPLACE FUNCTION outbox.count_messages(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_most int DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RETURN (SELECT count(*) FROM outbox.match_messages(
        p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text, NULL, p_most, false));
END $$;
COMMENT ON FUNCTION outbox.count_messages IS
    'How many messages find_messages would find with these conditions, counted up to p_most: that many or more.';

-- Promise: what match_messages finds, with what outbox.history tells of each.
-- Locks: nothing.  Cost: see match_messages; and a few probes per row.
CREATE OR REPLACE FUNCTION outbox.show_messages(
    p_status text[], p_bot text, p_chat_id text, p_tag text, p_correlation_id text, p_class text, p_since timestamptz,
    p_until timestamptz, p_text text, p_before_id bigint, p_limit int, p_in_payload boolean)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT h.id, h.bot, h.chat_id::text, h.method, h.priority, h.status, h.tag, h.correlation_id, h.created_at,
           h.scheduled_for, h.next_attempt_at, h.finished_at, h.attempts, h.telegram_message_id, h.error_class, h.error_text
      FROM outbox.match_messages(p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text,
                                 p_before_id, p_limit, p_in_payload) k
     CROSS JOIN LATERAL (
            SELECT m.id, m.bot, m.chat_id, m.method, m.priority,
                   CASE WHEN c.in_flight = m.id THEN 'sending' ELSE 'queued' END AS status, m.tag, m.correlation_id,
                   m.created_at, m.next_attempt_at AS scheduled_for,
                   greatest(m.next_attempt_at, outbox.head_waits_until(c, m.priority, m.method, m.calls + 1))
                       AS next_attempt_at,
                   NULL::timestamptz AS finished_at, m.attempts, NULL::bigint AS telegram_message_id,
                   NULL::text AS error_class, m.last_error AS error_text
              FROM outbox.message m
              LEFT JOIN outbox.chat c ON c.chat_id = m.chat_id AND c.bot = m.bot
             WHERE k.place = 'message' AND m.id = k.id
            UNION ALL
            SELECT d.id, d.bot, d.chat_id, d.method, d.priority, d.status, d.tag, d.correlation_id, d.created_at,
                   d.scheduled_for, NULL, d.died_at, d.attempts, NULL, d.error_class, d.error_text
              FROM outbox.dead_letter d WHERE k.place = 'dead_letter' AND d.id = k.id
            UNION ALL
            SELECT f.id, f.bot, f.chat_id, f.method, f.priority, f.status, f.tag, f.correlation_id, f.created_at,
                   f.scheduled_for, NULL, f.finished_at, f.attempts, f.telegram_message_id, f.error_class, f.error_text
              FROM outbox.finished f
             WHERE k.place = 'finished' AND f.id = k.id AND f.finished_at = k.ended_at) h
     ORDER BY h.id DESC;
END $$;
COMMENT ON FUNCTION outbox.show_messages IS 'Part of find_messages and find_in_payloads.';
