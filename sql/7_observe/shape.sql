-- Promise: what waits, by how long it has been due: ages holds the numbers of those due for less than 10 s, 1 min, 5 min,
-- 15 min, 1 h, 6 h, 1 day, and longer; scheduled: their time has not come. In rows per priority, bot, tag or kind of chat,
-- the 50 largest; the rest is one row, (others). Postfix' qshape is the model.
-- Locks: nothing.  Cost: reads every waiting row, 500,000 at most; for people, never for gauges.
CREATE OR REPLACE FUNCTION outbox.shape(p_by text)
RETURNS TABLE (name text, total bigint, scheduled bigint, ages bigint[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET work_mem = '32MB' SET jit = off
SET enable_indexscan = off SET max_parallel_workers_per_gather = 0 AS $$
#variable_conflict use_column
DECLARE
    v_now CONSTANT timestamptz := outbox.clock();
    -- A microsecond later: what is 10 s old is not younger than that.
    v_later CONSTANT timestamptz := v_now + interval '1 microsecond';
    v_steps CONSTANT timestamptz[] := ARRAY[
        v_later - interval '1 day', v_later - interval '6 hours', v_later - interval '1 hour', v_later - interval '15 min',
        v_later - interval '5 min', v_later - interval '1 min', v_later - interval '10 s'];
BEGIN
    IF coalesce(p_by NOT IN ('priority', 'bot', 'tag', 'chat_kind'), true) THEN
        RAISE EXCEPTION 'no shape by "%"', coalesce(left(p_by, 80), 'NULL') USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use priority, bot, tag or chat_kind.';
    END IF;
    RETURN QUERY
    WITH cell AS (
        SELECT CASE p_by WHEN 'priority' THEN m.priority::text WHEN 'bot' THEN m.bot
                         WHEN 'tag' THEN coalesce(m.tag, '(none)')
                         ELSE CASE left(m.chat_id, 1) WHEN '-' THEN 'group' WHEN '@' THEN 'channel-or-name'
                                                      ELSE 'private' END END AS name,
               -- 0: longer than a day … 7: less than 10 s; 8: not due yet.
               CASE WHEN m.next_attempt_at > v_now THEN 8
                    ELSE width_bucket(m.next_attempt_at, v_steps) END AS cell,
               count(*) AS n
          FROM (SELECT m.priority, m.bot, m.tag, m.chat_id, m.next_attempt_at FROM outbox.message m LIMIT 500000) m
         GROUP BY 1, 2),
    largest AS (
        SELECT c.name, row_number() OVER (ORDER BY sum(c.n) DESC, c.name) AS place FROM cell c GROUP BY c.name),
    shown AS (
        SELECT CASE WHEN l.place <= 50 THEN c.name ELSE '(others)' END AS name, least(l.place, 51) AS place, c.cell, c.n
          FROM cell c JOIN largest l ON l.name = c.name)
    SELECT s.name, sum(s.n)::bigint, coalesce(sum(s.n) FILTER (WHERE s.cell = 8), 0)::bigint,
           ARRAY[coalesce(sum(s.n) FILTER (WHERE s.cell = 7), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 6), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 5), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 4), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 3), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 2), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 1), 0)::bigint,
                 coalesce(sum(s.n) FILTER (WHERE s.cell = 0), 0)::bigint]
      FROM shown s
     GROUP BY s.name, s.place
     ORDER BY CASE WHEN p_by = 'priority' THEN s.name END, s.place;
END $$;
COMMENT ON FUNCTION outbox.shape IS
    'What waits by age and p_by: priority, bot, tag or chat_kind (private, group: any negative number, channel-or-name: an @name). ages: due for less than 10 s, 1 min, 5 min, 15 min, 1 h, 6 h, 1 day, longer; scheduled: not due yet. 50 rows, the rest as (others); counted up to 500,000 messages.';
