-- Promise: what waits under this id, correlation id or tag is not sent any more once the caller has committed, but for what
-- a worker is sending this moment: that ends by its answer, and is not tried again. True: something waits.
-- A tag covers all that was inserted until now, however much; what is inserted later with the tag is sent.
-- Locks: nothing; rows are only appended (I4): an application that stays in its transaction stops no worker.
-- Cost: a row per message, a wakeup for the first few; for a tag one row, whatever waits.
CREATE OR REPLACE FUNCTION outbox.cancel(
    p_id bigint DEFAULT NULL, p_tag text DEFAULT NULL, p_correlation_id text DEFAULT NULL, p_bot text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_bot text := lower(p_bot COLLATE "C");
    v_ids bigint[];
    v_asked int;
BEGIN
    IF num_nonnulls(p_id, p_tag, p_correlation_id) <> 1 THEN
        RAISE EXCEPTION 'cancel takes one of id, tag and correlation_id, not %',
            num_nonnulls(p_id, p_tag, p_correlation_id)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Call outbox.cancel(17), outbox.cancel(p_tag => …) or outbox.cancel(p_correlation_id => …).';
    END IF;
    IF p_tag IS NOT NULL THEN
        INSERT INTO outbox.stop (tag, bot, up_to_id)
        SELECT p_tag, v_bot, CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM outbox.message_id_seq s;
        RETURN EXISTS (SELECT FROM outbox.message m WHERE m.tag = p_tag AND (v_bot IS NULL OR m.bot = v_bot));
    END IF;
    IF p_id IS NOT NULL THEN
        v_ids := ARRAY(SELECT m.id FROM outbox.message m WHERE m.id = p_id AND (v_bot IS NULL OR m.bot = v_bot));
    ELSE
        v_ids := ARRAY(SELECT m.id FROM outbox.message m
                        WHERE m.correlation_id = p_correlation_id AND (v_bot IS NULL OR m.bot = v_bot));
    END IF;
    INSERT INTO outbox.request (chat_id, bot, message_id)
    SELECT m.chat_id, m.bot, m.id
      FROM unnest(v_ids) u CROSS JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = u LIMIT 1) m
     WHERE (SELECT true FROM outbox.request q WHERE q.message_id = u LIMIT 1) IS NULL;
    GET DIAGNOSTICS v_asked = ROW_COUNT;
    IF v_asked = 0 THEN
        RETURN v_ids <> '{}';
    END IF;
    -- What is scheduled is looked at now; of many it is housekeeping that comes by, or their wakeups would stand before
    -- everybody else's.
    PERFORM outbox.file_wakeups(m.bot, array_agg(m.chat_id), array_agg(m.priority), array_agg(outbox.clock()))
       FROM unnest(v_ids[:10]) u
      CROSS JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = u AND m.next_attempt_at > outbox.clock() LIMIT 1) m
      GROUP BY m.bot;
    RETURN v_ids <> '{}';
END $$;
COMMENT ON FUNCTION outbox.cancel IS
    'Cancels what waits: by id, by tag (all inserted until now) or by correlation_id; exactly one of them, p_bot narrows it. True: something waited. Takes effect when you commit; what is being sent this moment may still arrive. Ends as status cancelled.';
