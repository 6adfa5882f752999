-- Promise: chats that are suppressed, how many of them since an hour ago, and how many an hour before that, on average of a day.
-- Locks: nothing.  Cost: the chats that were ever suppressed, by index.
CREATE OR REPLACE FUNCTION outbox.gauges_of_chats() RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    RETURN QUERY
    SELECT x.name, '{}'::jsonb, x.value::float8
      FROM (SELECT count(*) FILTER (WHERE c.suppressed_until > v_now) AS suppressed,
                   count(*) FILTER (WHERE c.suppressed_at > v_now - interval '1 hour') AS lately,
                   count(*) FILTER (WHERE c.suppressed_at BETWEEN v_now - interval '25 hours'
                                                              AND v_now - interval '1 hour') / 24.0 AS usually
              FROM outbox.chat c WHERE c.suppressed_until IS NOT NULL) s
     CROSS JOIN LATERAL (VALUES ('suppressed_chats', s.suppressed::numeric), ('suppressed_chats_last_hour', s.lately),
                                ('suppressed_chats_per_hour_before', s.usually)) x (name, value);
END $$;
COMMENT ON FUNCTION outbox.gauges_of_chats IS 'Suppressed chats. Part of gauges.';
