-- Promise: dead letters by bot, status and error class (the 20 most frequent, the rest as other), and how many retention takes
-- within 7 days.
-- Locks: nothing.  Cost: at most 100,000 dead letters, the newest and the oldest, by index.
CREATE OR REPLACE FUNCTION outbox.gauges_of_dead_letters() RETURNS TABLE (name text, labels jsonb, value float8)
LANGUAGE plpgsql STABLE
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_most CONSTANT int := 100000;
    v_kept CONSTANT interval := interval '90 days';  -- as drop_history has it
BEGIN
    RETURN QUERY
    WITH lately AS MATERIALIZED (
        SELECT d.bot, d.status, coalesce(d.error_class, 'none') AS error_class
          FROM (SELECT d.bot, d.status, d.error_class FROM outbox.dead_letter d ORDER BY d.died_at DESC LIMIT v_most) d),
    often AS MATERIALIZED (
        SELECT l.error_class FROM lately l GROUP BY l.error_class ORDER BY count(*) DESC, l.error_class LIMIT 20)
    SELECT 'dead_letters', jsonb_build_object('bot', l.bot, 'status', l.status, 'error_class',
                                              coalesce(f.error_class, 'other')), count(*)::float8
      FROM lately l LEFT JOIN often f ON f.error_class = l.error_class
     GROUP BY l.bot, l.status, coalesce(f.error_class, 'other');
    RETURN QUERY
    SELECT 'dead_letters_expiring', '{}'::jsonb, count(*)::float8
      FROM (SELECT FROM outbox.dead_letter d WHERE d.died_at < v_now - v_kept + interval '7 days'
             ORDER BY d.died_at LIMIT v_most) x;
END $$;
COMMENT ON FUNCTION outbox.gauges_of_dead_letters IS 'Dead letters. Part of gauges.';
