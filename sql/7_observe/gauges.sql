-- Promise: what a monitor wants to know about the whole outbox, a row per number: its name as a metric (without the prefix
-- outbox_), labels and value. What must be counted was counted by housekeeping; here it is read.
-- Locks: nothing.  Cost: that of the parts: no walk over what waits.
-- p_part: queue, bots, dead_letters, chats, workers or server alone, so that one that takes too long does not cost the others.
CREATE OR REPLACE FUNCTION outbox.gauges(p_part text DEFAULT NULL) RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    IF p_part <> ALL (ARRAY['queue', 'bots', 'dead_letters', 'chats', 'workers', 'server']) THEN
        RAISE EXCEPTION 'there is no part "%"', left(p_part, 80) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use queue, bots, dead_letters, chats, workers or server.';
    END IF;
    IF coalesce(p_part = 'queue', true) THEN
        RETURN QUERY SELECT * FROM outbox.gauges_of_queue();
    END IF;
    IF coalesce(p_part = 'bots', true) THEN
        RETURN QUERY SELECT * FROM outbox.gauges_of_bots();
    END IF;
    IF coalesce(p_part = 'dead_letters', true) THEN
        RETURN QUERY SELECT * FROM outbox.gauges_of_dead_letters();
    END IF;
    IF coalesce(p_part = 'chats', true) THEN
        RETURN QUERY SELECT * FROM outbox.gauges_of_chats();
    END IF;
    IF coalesce(p_part = 'workers', true) THEN
        RETURN QUERY SELECT * FROM outbox.gauges_of_workers();
    END IF;
    IF coalesce(p_part = 'server', true) THEN
        RETURN QUERY SELECT * FROM outbox.gauges_of_server();
    END IF;
END $$;
COMMENT ON FUNCTION outbox.gauges IS
    'What a monitor wants to know, a row per number: name (as a metric, without the prefix outbox_), labels, value. What outbox up and workers show at /metrics.';

-- Promise: what waits, as housekeeping counted it at queue_measured_seconds ago; messages accepted and ended so far.
-- Locks: nothing.  Cost: the rows of depth, tally and bot; estimate_pressure once per bot.
CREATE OR REPLACE FUNCTION outbox.gauges_of_queue() RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    RETURN QUERY
    SELECT x.name, jsonb_build_object('bot', o.bot, 'priority', p.priority::text) || x.more, x.value::float8
      FROM outbox.bot o
     CROSS JOIN generate_series(0, 3) p (priority)
      LEFT JOIN outbox.depth d ON d.bot = o.bot AND d.priority = p.priority
     CROSS JOIN LATERAL (VALUES
           ('queue_messages', '{"state": "due"}'::jsonb, coalesce(d.due, 0)),
           ('queue_messages', '{"state": "scheduled"}', coalesce(d.scheduled, 0)),
           ('queue_retrying_messages', '{}', coalesce(d.retrying, 0)),
           ('queue_oldest_age_seconds', '{}', coalesce(d.oldest_age_s, 0))) x (name, more, value);
    RETURN QUERY
    SELECT x.name, jsonb_build_object('bot', s.bot, 'priority', s.priority::text), x.value
      -- Of what was counted lately: otherwise estimate_pressure would count for itself.
      FROM (SELECT e.* FROM outbox.backlog b CROSS JOIN LATERAL (SELECT b.bot, p.* FROM outbox.estimate_pressure(b.bot) p) e
             WHERE b.measured_at BETWEEN v_now - interval '50 s' AND v_now) s
     CROSS JOIN LATERAL (VALUES ('expected_delay_seconds', s.expected_delay_s), ('backlog_seconds', s.backlog_s))
           x (name, value)
     WHERE x.value IS NOT NULL;
    RETURN QUERY
    SELECT 'messages_accepted_total', jsonb_build_object('bot', t.bot, 'method', t.method), t.messages::float8
      FROM outbox.tally t WHERE t.status = 'accepted'
    UNION ALL
    SELECT 'messages_ended_total',
           jsonb_build_object('bot', t.bot, 'method', t.method, 'status', t.status, 'error_class', t.error_class),
           t.messages::float8
      FROM outbox.tally t WHERE t.status <> 'accepted';
    RETURN QUERY
    SELECT 'queue_measured_seconds', '{}'::jsonb, extract(epoch FROM outbox.clock() - max(b.measured_at))::float8
      FROM outbox.backlog b HAVING max(b.measured_at) IS NOT NULL;
END $$;
COMMENT ON FUNCTION outbox.gauges_of_queue IS 'What waits, and what came and went. Part of gauges.';
