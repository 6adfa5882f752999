-- Promise: chats in a state, by chat_id; the next page begins with p_after: the last chat_id. suppressed: refuses
-- everything until until_at; moved: has become moved_to; in_flight: a message is on its way to it; backing_off: waits
-- after a failed attempt; cooling: was sent to a moment ago, or told to wait (429). p_state NULL: any, the first of these
-- that holds or ready; so one chat is asked for with p_chat_id, also one that was never sent to. waiting is counted up to
-- 1,000.
-- Locks: nothing.  Cost: suppressed, moved and one chat: an index. Of those, and of any state, the chats of one bot: the keys
-- of 2 million at most. The rest reads the first 400 MB of outbox.chat, about 2 million chats: an index on what each send
-- changes would cost more; outbox.chats_are_read_whole says whether these are all.
CREATE OR REPLACE FUNCTION outbox.find_chats(
    p_state text DEFAULT NULL, p_bot text DEFAULT NULL, p_chat_id text DEFAULT NULL, p_after text DEFAULT NULL,
    p_limit int DEFAULT 50)
RETURNS TABLE (
    chat_id text, bot text, state text, until_at timestamptz, reason text, moved_to text, in_flight bigint,
    worker bigint, last_sent_at timestamptz, waiting bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off ROWS 50 AS $$
#variable_conflict use_column
DECLARE
    v_now CONSTANT timestamptz := outbox.clock();
    v_bot CONSTANT text := lower(p_bot COLLATE "C");
    v_chat_id CONSTANT text := lower(p_chat_id COLLATE "C");
    v_chats outbox.chat[];
BEGIN
    IF p_state NOT IN ('suppressed', 'moved', 'in_flight', 'backing_off', 'cooling') THEN
        RAISE EXCEPTION 'no chat is "%"', left(p_state, 80) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use suppressed, moved, in_flight, backing_off or cooling, or leave p_state out.';
    END IF;
    IF v_chat_id IS NOT NULL OR p_state IN ('suppressed', 'moved') OR p_state IS NULL THEN
        v_chats := outbox.chats_by_index(p_state, v_bot, v_chat_id, p_after, v_now, p_limit);
    ELSE
        v_chats := outbox.chats_by_reading(p_state, v_bot, p_after, v_now, p_limit);
    END IF;

    RETURN QUERY
    SELECT c.chat_id::text, c.bot,
           coalesce(s.state, CASE WHEN p_state IS NULL THEN 'ready' END),
           CASE s.state WHEN 'suppressed' THEN c.suppressed_until WHEN 'backing_off' THEN s.backoff_until
                        WHEN 'cooling' THEN c.next_send_at END,
           CASE s.state
               WHEN 'suppressed' THEN coalesce(c.suppressed_reason, 'it refused what was sent')
               WHEN 'moved' THEN 'the chat has become ' || c.moved_to
               WHEN 'in_flight' THEN format('message %s is on its way, attempt %s, since %s', c.in_flight, c.attempt,
                                              outbox.moment_in_words(c.claimed_at))
               WHEN 'backing_off' THEN 'waits after a failed attempt'
               WHEN 'cooling' THEN CASE WHEN c.next_send_at > c.last_sent_at + make_interval(secs => o.chat_interval_s)
                                        THEN 'its group''s limit, or told to wait by Telegram (429)'
                                        ELSE 'was sent to a moment ago' END END,
           c.moved_to::text, c.in_flight, c.worker, c.last_sent_at,
           (SELECT count(*) FROM (SELECT FROM outbox.message m WHERE m.chat_id = c.chat_id AND m.bot = c.bot LIMIT 1000) m)
      FROM unnest(v_chats) c
      LEFT JOIN outbox.bot o ON o.bot = c.bot
     CROSS JOIN LATERAL (
            SELECT b.backoff_until,
                   -- What was asked for first: a chat may be in several.
                   (SELECT x.state
                      FROM (VALUES (1, 'suppressed', c.suppressed_until > v_now), (2, 'moved', c.moved_to IS NOT NULL),
                                   (3, 'in_flight', c.in_flight IS NOT NULL), (4, 'backing_off', b.backoff_until > v_now),
                                   (5, 'cooling', c.next_send_at > v_now)) x (place, state, holds)
                     WHERE x.holds ORDER BY x.state IS DISTINCT FROM p_state, x.place LIMIT 1) AS state
              FROM (SELECT max(u) AS backoff_until FROM unnest(c.backoff_until) u) b) s
     WHERE p_state IS NULL OR s.state = p_state
     ORDER BY c.chat_id, c.bot;
END $$;
COMMENT ON FUNCTION outbox.find_chats IS
    'Chats that are suppressed, moved, in_flight, backing_off or cooling, by chat_id; or one chat, in whatever state (ready: none of these). waiting: counted up to 1,000. in_flight, backing_off and cooling are looked for among the first 2 million chats (outbox.chats_are_read_whole says whether these are all), those of a bot among the next 2 million. Next page: p_after, the last chat_id.';

-- Promise: chats that an index leads to: one, those suppressed or moved, or all, by chat_id; all bots of the last one.
-- Locks: nothing.  Cost: index entries up to the limit; for the chats of a bot, which have no index, those of 2 million.
CREATE OR REPLACE FUNCTION outbox.chats_by_index(
    p_state text, p_bot text, p_chat_id text, p_after text, p_now timestamptz, p_limit int) RETURNS outbox.chat[]
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_slice CONSTANT int := 100000;
    v_from text := coalesce(p_after || chr(1), '');  -- the first behind it
    v_last text;
    v_found outbox.chat[] := '{}';
BEGIN
    IF p_chat_id IS NOT NULL THEN
        RETURN ARRAY(
            SELECT c FROM outbox.chat c
             WHERE c.chat_id = p_chat_id AND (p_bot IS NULL OR c.bot = p_bot) AND (p_after IS NULL OR c.chat_id > p_after)
            UNION ALL
            SELECT ROW(p_chat_id, o.bot, NULL, NULL, NULL, NULL, NULL, NULL, NULL, array_fill(NULL::timestamptz, ARRAY[4]),
                       NULL, NULL, 0, NULL, NULL, NULL)::outbox.chat
              FROM outbox.bot o
             WHERE (p_bot IS NULL OR o.bot = p_bot) AND (p_after IS NULL OR p_chat_id COLLATE "C" > p_after)
               AND EXISTS (SELECT FROM outbox.message m WHERE m.chat_id = p_chat_id AND m.bot = o.bot)
               AND NOT EXISTS (SELECT FROM outbox.chat c WHERE c.chat_id = p_chat_id AND c.bot = o.bot));
    ELSIF p_state = 'suppressed' THEN
        RETURN ARRAY(
            SELECT x.c
              FROM (SELECT c.chat_id, c.bot FROM outbox.chat c
                     WHERE c.suppressed_until IS NOT NULL AND c.chat_id > coalesce(p_after, '')
                     ORDER BY c.chat_id, c.bot LIMIT 2000000) k
             CROSS JOIN LATERAL (SELECT c FROM outbox.chat c
                                  WHERE c.chat_id = k.chat_id AND c.bot = k.bot AND c.suppressed_until > p_now) x
             WHERE p_bot IS NULL OR k.bot = p_bot
             ORDER BY k.chat_id FETCH FIRST p_limit ROWS WITH TIES);
    ELSIF p_state = 'moved' THEN
        RETURN ARRAY(
            SELECT x.c
              FROM (SELECT c.chat_id, c.bot FROM outbox.chat c
                     WHERE c.moved_to IS NOT NULL AND c.chat_id > coalesce(p_after, '')
                     ORDER BY c.chat_id, c.bot LIMIT 2000000) k
             CROSS JOIN LATERAL (SELECT c FROM outbox.chat c WHERE c.chat_id = k.chat_id AND c.bot = k.bot) x
             WHERE p_bot IS NULL OR k.bot = p_bot
             ORDER BY k.chat_id FETCH FIRST p_limit ROWS WITH TIES);
    ELSIF p_bot IS NULL THEN
        RETURN ARRAY(
            SELECT c FROM outbox.chat c WHERE c.chat_id >= v_from ORDER BY c.chat_id FETCH FIRST p_limit ROWS WITH TIES);
    END IF;
    FOR i IN 1 .. 20 LOOP
        v_found := v_found || ARRAY(
            SELECT (SELECT c FROM outbox.chat c WHERE c.chat_id = k.chat_id AND c.bot = k.bot)
              FROM (SELECT c.chat_id, c.bot FROM outbox.chat c WHERE c.chat_id >= v_from
                     ORDER BY c.chat_id, c.bot LIMIT v_slice) k
             WHERE k.bot = p_bot AND k.chat_id IS DISTINCT FROM v_last
             ORDER BY k.chat_id LIMIT p_limit - cardinality(v_found));
        EXIT WHEN cardinality(v_found) >= p_limit;
        v_last := (v_found[cardinality(v_found)]).chat_id;
        -- Its other bots may lie behind this slice.
        v_from := (SELECT c.chat_id FROM outbox.chat c WHERE c.chat_id >= v_from ORDER BY c.chat_id, c.bot
                   OFFSET v_slice - 1 LIMIT 1);
        EXIT WHEN v_from IS NULL;
    END LOOP;
    RETURN v_found;
END $$;
COMMENT ON FUNCTION outbox.chats_by_index IS 'Chats that an index leads to. Part of find_chats.';

-- Promise: how many pages of outbox.chat are read for what no index knows.  Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.chat_pages_read() RETURNS int
LANGUAGE sql IMMUTABLE AS $$ SELECT 50000 $$;
COMMENT ON FUNCTION outbox.chat_pages_read IS 'Pages of outbox.chat that are read whole. Part of find_messages and find_chats.';

-- Promise: whether find_chats looks at all chats for those in flight, backing off or cooling, and find_messages for what is
-- being sent; false: some chats, and what is being sent to them, may be missing.  Locks: nothing.  Cost: the size of a file.
CREATE OR REPLACE FUNCTION outbox.chats_are_read_whole() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_relation_size('outbox.chat') <= outbox.chat_pages_read() * current_setting('block_size')::bigint
$$;
COMMENT ON FUNCTION outbox.chats_are_read_whole IS
    'Whether find_chats (in_flight, backing_off, cooling) and find_messages (sending) look at all chats: of more than about 2 million some may be missing.';

-- Promise: chats in flight, backing off or cooling, by chat_id; all bots of the last one.
-- Locks: nothing.  Cost: reads the first 400 MB of outbox.chat.
CREATE OR REPLACE FUNCTION outbox.chats_by_reading(
    p_state text, p_bot text, p_after text, p_now timestamptz, p_limit int) RETURNS outbox.chat[]
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan SET enable_seqscan = on SET enable_indexscan = off SET enable_bitmapscan = off
SET max_parallel_workers_per_gather = 0 SET jit = off AS $$
BEGIN
    RETURN ARRAY(
        SELECT c FROM outbox.chat c
         WHERE c.ctid < format('(%s,0)', outbox.chat_pages_read())::tid
           AND (p_bot IS NULL OR c.bot = p_bot) AND (p_after IS NULL OR c.chat_id > p_after)
           AND CASE p_state
                   WHEN 'in_flight' THEN c.in_flight IS NOT NULL
                   WHEN 'cooling' THEN c.next_send_at > p_now
                   ELSE p_now < ANY (c.backoff_until) END
         ORDER BY c.chat_id FETCH FIRST p_limit ROWS WITH TIES);
END $$;
COMMENT ON FUNCTION outbox.chats_by_reading IS 'Chats in a state that no index knows. Part of find_chats.';
