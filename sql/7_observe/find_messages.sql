-- Promise: messages that meet every condition given, newest id first, as outbox.history shows them; the next page begins
-- with p_before_id: the last id of this one. No payload.
-- Locks: nothing.  Cost: see match_messages; and a few probes per row returned.
CREATE OR REPLACE FUNCTION outbox.find_messages(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_limit int DEFAULT 50,
    p_priority int DEFAULT NULL)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 50 AS $$
BEGIN
    RETURN QUERY
    SELECT m.id, m.bot, m.chat_id, m.method, m.priority, m.status, m.tag, m.correlation_id, m.created_at, m.scheduled_for,
           m.next_attempt_at, m.finished_at, m.attempts, m.telegram_message_id, m.error_class, m.error_text
      FROM outbox.show_messages(p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text,
                                p_before_id, p_limit, p_priority, false) m
     WHERE m.id IS NOT NULL;
END $$;
COMMENT ON FUNCTION outbox.find_messages IS
    'Messages by status (several), bot, chat, tag, correlation id, error class, time of writing (since, until), text and priority, newest first; all conditions given must hold. Text: part of error_text, tag or correlation_id, in any case, of the newest 20,000 that meet the rest. Of what no index leads to, the newest 100,000 are looked at; outbox.search_messages says whether that was all. A transaction that stayed open for more than 10 minutes may hide at the end of a time. Next page: p_before_id, the last id.';

-- Promise: the same, and on each row how far the search went: complete, or only back to reached_id, written at reached_at:
-- of older messages not all were looked at. One row without an id says that where nothing was found. Not complete and
-- without reached_id: of what is being sent any may be missing, see outbox.chats_are_read_whole.
-- Locks: nothing.  Cost: that of find_messages.
CREATE OR REPLACE FUNCTION outbox.search_messages(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_limit int DEFAULT 50,
    p_priority int DEFAULT NULL)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text, complete boolean, reached_id bigint,
    reached_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 50 AS $$
BEGIN
    RETURN QUERY SELECT * FROM outbox.show_messages(
        p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text, p_before_id, p_limit,
        p_priority, false);
END $$;
COMMENT ON FUNCTION outbox.search_messages IS
    'find_messages, and on each row whether all was looked at (complete) or only reached_id, written at reached_at, and newer ones. Where nothing was found and not all was looked at: one row without id. Look further back with p_before_id => reached_id.';

-- Promise: how many find_messages would find, counted up to p_most.
-- Locks: nothing.  Cost: see match_messages.
CREATE OR REPLACE FUNCTION outbox.count_messages(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_most int DEFAULT 10000,
    p_priority int DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RETURN (SELECT count(*) FROM outbox.match_messages(
        p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text, NULL, p_most, p_priority,
        false) k WHERE k.is_match);
END $$;
COMMENT ON FUNCTION outbox.count_messages IS
    'How many messages find_messages would find with these conditions, counted up to p_most: that many or more.';

-- Promise: the same count (found), and whether all was looked at (complete) or only back to reached_id, written at
-- reached_at. Always one row.
-- Locks: nothing.  Cost: see match_messages.
CREATE OR REPLACE FUNCTION outbox.search_reach(
    p_status text[] DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_class text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_most int DEFAULT 10000,
    p_priority int DEFAULT NULL)
RETURNS TABLE (found bigint, complete boolean, reached_id bigint, reached_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off ROWS 1 AS $$
BEGIN
    RETURN QUERY
    SELECT c.n, c.end_id IS NULL, m.id, m.created_at
      FROM (SELECT count(*) FILTER (WHERE k.is_match) AS n, max(k.id) FILTER (WHERE NOT k.is_match) AS end_id
              FROM outbox.match_messages(p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until,
                                         p_text, p_before_id, p_most, p_priority, false) k) c
      LEFT JOIN LATERAL outbox.message_after(c.end_id) m ON true;
END $$;
COMMENT ON FUNCTION outbox.search_reach IS
    'count_messages (found, up to p_most), and whether all was looked at (complete) or only reached_id, written at reached_at, and newer ones. Look further back with p_before_id => reached_id.';

-- Promise: what match_messages finds, with what outbox.history tells of each, and how far it looked. A row without id:
-- nothing was found, and not all was looked at.
-- Locks: nothing.  Cost: see match_messages; and a few probes per row.
CREATE OR REPLACE FUNCTION outbox.show_messages(
    p_status text[], p_bot text, p_chat_id text, p_tag text, p_correlation_id text, p_class text, p_since timestamptz,
    p_until timestamptz, p_text text, p_before_id bigint, p_limit int, p_priority int, p_in_payload boolean)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, scheduled_for timestamptz, next_attempt_at timestamptz, finished_at timestamptz,
    attempts int, telegram_message_id bigint, error_class text, error_text text, complete boolean, reached_id bigint,
    reached_at timestamptz)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    r record;
BEGIN
    SELECT array_agg(k.id) FILTER (WHERE k.is_match) AS ids, array_agg(k.place) FILTER (WHERE k.is_match) AS places,
           array_agg(k.ended_at) FILTER (WHERE k.is_match) AS ends, max(k.id) FILTER (WHERE NOT k.is_match) AS end_id
      INTO r
      FROM outbox.match_messages(p_status, p_bot, p_chat_id, p_tag, p_correlation_id, p_class, p_since, p_until, p_text,
                                 p_before_id, p_limit, p_priority, p_in_payload) k;
    complete := r.end_id IS NULL;
    SELECT m.id, m.created_at INTO reached_id, reached_at FROM outbox.message_after(r.end_id) m;
    IF r.ids IS NULL AND NOT complete THEN
        RETURN NEXT;
    END IF;
    RETURN QUERY
    SELECT h.id, h.bot, h.chat_id::text, h.method, h.priority, h.status, h.tag, h.correlation_id, h.created_at,
           h.scheduled_for, h.next_attempt_at, h.finished_at, h.attempts, h.telegram_message_id, h.error_class,
           h.error_text, complete, reached_id, reached_at
      FROM unnest(r.ids, r.places, r.ends) k (id, place, ended_at)
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
COMMENT ON FUNCTION outbox.show_messages IS 'Part of find_messages, search_messages, find_in_payloads and search_in_payloads.';

-- Promise: the oldest message with a greater id; nothing for NULL.
-- Locks: nothing.  Cost: an index probe in message, dead_letter and each day of finished.
CREATE OR REPLACE FUNCTION outbox.message_after(p_id bigint, OUT id bigint, OUT created_at timestamptz)
LANGUAGE plpgsql STABLE STRICT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
#variable_conflict use_column
BEGIN
    SELECT x.id, x.created_at INTO message_after.id, message_after.created_at
      FROM ((SELECT m.id, m.created_at FROM outbox.message m WHERE m.id > p_id ORDER BY m.id LIMIT 1)
            UNION ALL
            (SELECT d.id, d.created_at FROM outbox.dead_letter d WHERE d.id > p_id ORDER BY d.id LIMIT 1)
            UNION ALL
            (SELECT f.id, f.created_at FROM outbox.finished f WHERE f.id > p_id ORDER BY f.id LIMIT 1)) x
     ORDER BY x.id LIMIT 1;
END $$;
COMMENT ON FUNCTION outbox.message_after IS 'The next message by id. Part of search_messages.';
