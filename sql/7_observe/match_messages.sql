-- Promise: the messages that meet every condition, newest id first, at most p_limit (is_match), and the table that each is
-- in. text is looked for, in any case and without wildcards, in error_text, tag and correlation_id (and the payload, of
-- 20 MB of them, where p_in_payload says so) of the newest 20,000 that meet the rest. since and until are about created_at.
-- Behind them, not is_match, the newest message at which a limit ended the search: of it and older ones not all were
-- looked at. Of what is being sent, where not all chats are read, any may be missing: then the greatest id that can be.
-- Locks: nothing.  Cost: that of the index with the fewest entries for one of the conditions, of which no more than the
-- newest 100,000 in each table are looked at (docs/decisions/0012). So a condition without an index of its own (a
-- priority, a bot or class that waits, several together) may leave out older ones; nothing else does.
CREATE OR REPLACE FUNCTION outbox.match_messages(
    p_status text[], p_bot text, p_chat_id text, p_tag text, p_correlation_id text, p_class text, p_since timestamptz,
    p_until timestamptz, p_text text, p_before_id bigint, p_limit int, p_priority int, p_in_payload boolean,
    OUT id bigint, OUT place text, OUT ended_at timestamptz, OUT is_match boolean)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_incremental_sort = off SET max_parallel_workers_per_gather = 0 SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_hashagg = off SET work_mem = '64MB' SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_walk CONSTANT bigint := 100000;
    v_bytes CONSTANT bigint := 20000000;
    v_text CONSTANT text := lower(nullif(p_text, ''));
    v_bot CONSTANT text := lower(p_bot COLLATE "C");
    v_chat_id CONSTANT text := lower(p_chat_id COLLATE "C");
    v_payloads CONSTANT boolean := p_in_payload AND v_text IS NOT NULL;
    v_most CONSTANT bigint := CASE WHEN v_text IS NULL THEN p_limit ELSE 20000 END;
    v_from bigint := coalesce(outbox.id_at(p_since), -9223372036854775808);
    -- A transaction may stay open for a while: created_at is its beginning, the id is from its end.
    v_below bigint := coalesce(outbox.id_at(p_until + interval '10 min') + 1, 9223372036854775807);
    v_ended CONSTANT text[] := ARRAY(
        SELECT s FROM unnest(ARRAY['sent', 'expired', 'cancelled', 'superseded', 'discarded']) s
         WHERE s = ANY (coalesce(p_status, ARRAY[s])));
    v_live_by text;
    v_live_value text;
    v_sending bigint[];
    v_dead_by text;
    v_ended_by text := 'id';
    v_ended_values text[] := ARRAY[NULL::text];
    v_ways text[];
    v_cap bigint;
    v_fewest bigint;
    v_count bigint;
    v_unknown text;
    v_way record;
    v_found record;
    v_given int;
BEGIN
    IF p_priority NOT BETWEEN 0 AND 3 THEN
        RAISE EXCEPTION 'priority % does not exist', p_priority USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use 0 critical, 1 high, 2 normal or 3 low.';
    END IF;
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE EXCEPTION 'limit % is not a number of messages', coalesce(p_limit::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ask for 1 or more, such as 50.';
    END IF;
    SELECT s INTO v_unknown FROM unnest(p_status) s
     WHERE s <> ALL (ARRAY['queued', 'sending', 'sent', 'dead', 'uncertain', 'expired', 'cancelled', 'superseded',
                           'discarded']) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no message is ever "%"', left(v_unknown, 80) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use queued, sending, sent, dead, uncertain, expired, cancelled, superseded or discarded.';
    END IF;
    v_below := least(v_below, p_before_id);

    -- Of several ways to them the one with the fewest entries: counted, because statistics may be missing.
    FOR v_way IN SELECT *, count(*) OVER () AS ways FROM (VALUES
            ('correlation', p_correlation_id), ('chat', v_chat_id), ('class', p_class), ('tag', p_tag), ('bot', v_bot),
            ('status', CASE WHEN 'sent' <> ALL (v_ended) THEN v_ended[1] END)) x (walk_by, value)
             WHERE x.value IS NOT NULL AND v_ended <> '{}'
    LOOP
        v_ways := CASE WHEN v_way.walk_by = 'status' THEN v_ended ELSE ARRAY[v_way.value] END;
        v_cap := CASE WHEN v_way.walk_by = 'correlation' THEN 20000 ELSE 3000 END;
        IF v_way.ways > 1 OR v_way.walk_by = 'correlation' THEN
            SELECT count(*) INTO v_count
              FROM (SELECT FROM unnest(v_ways) v (value)
                     CROSS JOIN LATERAL (
                            SELECT FROM outbox.walk_finished(v_way.walk_by, v.value, v_from, v_below, v_cap) f) f
                     LIMIT v_cap) y;
            CONTINUE WHEN v_fewest <= v_count OR v_way.walk_by = 'correlation' AND v_count = v_cap;
        END IF;
        v_fewest := v_count;
        v_ended_by := v_way.walk_by;
        v_ended_values := v_ways;
        EXIT WHEN v_count < 100;
    END LOOP;
    IF p_class IS NULL AND coalesce(p_status && ARRAY['queued', 'sending'], true) THEN
        v_live_by := 'id';
        IF 'queued' <> ALL (p_status) THEN
            v_live_by := 'ids';
            v_sending := ARRAY(SELECT c.in_flight FROM outbox.chats_in_flight() c);
        ELSIF p_correlation_id IS NOT NULL AND NOT EXISTS (
                  SELECT FROM outbox.message m WHERE m.correlation_id = p_correlation_id OFFSET 20000) THEN
            v_live_by := 'correlation';
            v_live_value := p_correlation_id;
        ELSIF v_chat_id IS NOT NULL AND NOT EXISTS (
                  SELECT FROM outbox.message m WHERE m.chat_id = v_chat_id OFFSET 20000) THEN
            v_live_by := 'chat';
            v_live_value := v_chat_id;
        ELSIF p_tag IS NOT NULL THEN
            v_live_by := 'tag';
            v_live_value := p_tag;
        END IF;
    END IF;
    IF coalesce(p_status && ARRAY['dead', 'uncertain'], true) THEN
        v_dead_by := CASE WHEN p_correlation_id IS NOT NULL THEN 'correlation' WHEN v_chat_id IS NOT NULL THEN 'chat'
                          ELSE 'id' END;
    END IF;

    SELECT coalesce(array_agg(y.id) FILTER (WHERE NOT y.is_end), '{}') AS ids,
           array_agg(y.place) FILTER (WHERE NOT y.is_end) AS places,
           array_agg(y.ended_at) FILTER (WHERE NOT y.is_end) AS ends, max(y.id) FILTER (WHERE y.is_end) AS end_id
      INTO v_found
      FROM (SELECT y.*
              FROM (SELECT x.*, v_text IS NOT NULL AND x.n > v_most OR v_payloads AND x.bytes > v_bytes AS is_end
                      FROM (SELECT w.*, row_number() OVER (ORDER BY w.id DESC) AS n,
                                   sum(pg_column_size(w.payload)) OVER (ORDER BY w.id DESC) AS bytes
                              FROM (
            (SELECT m.id, 'message' AS place, NULL::timestamptz AS ended_at, m.last_error AS error_text, m.tag,
                    m.correlation_id, CASE WHEN v_payloads THEN m.payload END AS payload
               FROM outbox.walk_message(v_live_by, v_live_value, v_sending, v_from, v_below, v_walk) m
              WHERE (v_bot IS NULL OR m.bot = v_bot) AND (v_chat_id IS NULL OR m.chat_id = v_chat_id)
                AND (p_tag IS NULL OR m.tag = p_tag) AND (p_priority IS NULL OR m.priority = p_priority)
                AND (p_correlation_id IS NULL OR m.correlation_id = p_correlation_id)
                AND (p_since IS NULL OR m.created_at >= p_since) AND (p_until IS NULL OR m.created_at < p_until)
                AND ('sending' = ANY (p_status) OR p_status IS NULL OR NOT EXISTS (
                        SELECT FROM outbox.chat c
                         WHERE c.chat_id = m.chat_id AND c.bot = m.bot AND c.in_flight = m.id))
              LIMIT v_most + 1)  -- in the order of the walk
            UNION ALL
            (SELECT d.id, 'dead_letter', d.died_at, d.error_text, d.tag, d.correlation_id,
                    CASE WHEN v_payloads THEN d.payload END
               FROM outbox.walk_dead_letter(v_dead_by, coalesce(p_correlation_id, v_chat_id), v_from, v_below, v_walk) d
              WHERE (v_bot IS NULL OR d.bot = v_bot) AND (v_chat_id IS NULL OR d.chat_id = v_chat_id)
                AND (p_tag IS NULL OR d.tag = p_tag) AND (p_priority IS NULL OR d.priority = p_priority)
                AND (p_class IS NULL OR d.error_class = p_class)
                AND (p_correlation_id IS NULL OR d.correlation_id = p_correlation_id)
                AND (p_since IS NULL OR d.created_at >= p_since) AND (p_until IS NULL OR d.created_at < p_until)
                AND (p_status IS NULL OR d.status = ANY (p_status))
              LIMIT v_most + 1)
            UNION ALL
            (SELECT f.id, 'finished', f.finished_at, f.error_text, f.tag, f.correlation_id,
                    CASE WHEN v_payloads THEN f.payload END
               FROM unnest(CASE WHEN v_ended <> '{}' THEN v_ended_values END) v (value)
              CROSS JOIN LATERAL (
                     SELECT * FROM outbox.walk_finished(v_ended_by, v.value, v_from, v_below, v_walk) f
                      WHERE (v_bot IS NULL OR f.bot = v_bot) AND (v_chat_id IS NULL OR f.chat_id = v_chat_id)
                        AND (p_tag IS NULL OR f.tag = p_tag) AND (p_priority IS NULL OR f.priority = p_priority)
                        AND (p_class IS NULL OR f.error_class = p_class)
                        AND (p_correlation_id IS NULL OR f.correlation_id = p_correlation_id)
                        AND (p_since IS NULL OR f.created_at >= p_since) AND (p_until IS NULL OR f.created_at < p_until)
                        AND (p_status IS NULL OR f.status = ANY (p_status))
                      LIMIT v_most + 1) f
              ORDER BY f.id DESC LIMIT v_most + 1)) w
                             ORDER BY w.id DESC LIMIT v_most + 1) x) y
             -- Of what is beyond a limit the first, which tells where that was.
             WHERE CASE WHEN y.is_end THEN NOT v_payloads OR y.bytes - pg_column_size(y.payload) <= v_bytes
                        ELSE v_text IS NULL
                             OR strpos(lower(concat_ws(chr(10), y.error_text, y.tag, y.correlation_id)), v_text) > 0
                             OR v_payloads AND strpos(lower(y.payload::text), v_text) > 0 END
             ORDER BY y.id DESC LIMIT p_limit) y;
    RETURN QUERY SELECT k.id, k.place, k.ended_at, true FROM unnest(v_found.ids, v_found.places, v_found.ends) k (id, place, ended_at);

    -- What every row of a walk meets is found before the walk ends.
    v_given := num_nonnulls(v_bot, v_chat_id, p_tag, p_correlation_id, p_class, p_priority, p_since, p_until)
        + (p_limit >= v_walk)::int;
    v_live_by := CASE WHEN v_live_by <> 'ids' AND v_given > (v_live_by <> 'id')::int THEN v_live_by END;
    v_dead_by := CASE WHEN v_given > (v_dead_by <> 'id')::int OR NOT p_status @> ARRAY['dead', 'uncertain'] THEN v_dead_by END;
    v_ended_by := CASE WHEN v_given > (v_ended_by NOT IN ('id', 'status'))::int
                         OR v_ended_by <> 'status' AND cardinality(v_ended) < 5 THEN v_ended_by END;
    IF num_nonnulls(v_live_by, v_dead_by, v_ended_by) > 0 THEN
        v_from := greatest(v_from, v_found.end_id, CASE WHEN cardinality(v_found.ids) = p_limit THEN v_found.ids[p_limit] END);
        SELECT greatest(v_found.end_id, max(e.id)) INTO v_found.end_id
          FROM ((SELECT m.id FROM outbox.walk_message(v_live_by, v_live_value, NULL, v_from, v_below, v_walk + 1) m
                 OFFSET v_walk)
                UNION ALL
                (SELECT d.id
                   FROM outbox.walk_dead_letter(v_dead_by, coalesce(p_correlation_id, v_chat_id), v_from, v_below,
                                                v_walk + 1) d
                 OFFSET v_walk)
                UNION ALL
                (SELECT f.id
                   FROM unnest(CASE WHEN v_ended <> '{}' THEN v_ended_values END) v (value)
                  CROSS JOIN LATERAL (
                         SELECT f.id FROM outbox.walk_finished(v_ended_by, v.value, v_from, v_below, v_walk + 1) f
                         OFFSET v_walk) f)) e;
    END IF;
    -- Of what is being sent any may be missing, the newest as well.
    IF v_sending IS NOT NULL AND NOT outbox.chats_are_read_whole() THEN
        v_found.end_id := 9223372036854775807;
    END IF;
    IF v_found.end_id IS NOT NULL THEN
        RETURN QUERY SELECT v_found.end_id, NULL, NULL::timestamptz, false;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.match_messages IS 'Finds messages by the conditions of find_messages, and says in which table each is.';

-- Promise: the lanes with a message in flight.
-- Locks: nothing.  Cost: reads the first 400 MB of outbox.chat, about 2 million chats: an index on what each send changes
-- would cost more.
CREATE OR REPLACE FUNCTION outbox.chats_in_flight() RETURNS SETOF outbox.chat
LANGUAGE sql STABLE SET enable_indexscan = off SET jit = off AS $$
    SELECT c.* FROM outbox.chat c
     WHERE c.in_flight IS NOT NULL AND c.ctid < format('(%s,0)', outbox.chat_pages_read())::tid
$$;
COMMENT ON FUNCTION outbox.chats_in_flight IS 'Lanes with a message in flight. Part of find_messages and find_chats.';
