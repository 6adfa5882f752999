-- Promise: what each bot did lately, in steps: calls that sent, were answered by 429, or failed, and what its limit allows
-- per step as it is now (NULL: unlimited). Whole steps only, those without a call too; of the 20 bots that called most. Nothing
-- on the day of the upgrade that brings their index, see lacks_index.
-- Locks: nothing.  Cost: the attempts of that time, by index: 27,000 for 15 minutes at 30/s. For plots.
CREATE OR REPLACE FUNCTION outbox.rate_series(p_minutes int DEFAULT 15, p_step_s int DEFAULT 10)
RETURNS TABLE (bot text, at timestamptz, sent int, too_many_requests int, failed int, allowed float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_step CONSTANT interval := make_interval(secs => p_step_s);
    v_until timestamptz;
    v_since timestamptz;
BEGIN
    IF coalesce(p_minutes NOT BETWEEN 1 AND 1440 OR p_step_s NOT BETWEEN 1 AND 3600
                OR p_minutes * 60 > 2000 * p_step_s, true) THEN
        RAISE EXCEPTION '% minutes in steps of % s make no plot', p_minutes, p_step_s
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use up to 1440 minutes, and at most 2000 steps.';
    END IF;
    v_until := date_bin(v_step, outbox.clock(), 'epoch');
    v_since := v_until - make_interval(mins => p_minutes);
    IF outbox.lacks_index('attempt_answered', v_since) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH done AS MATERIALIZED (
        SELECT a.bot, date_bin(v_step, a.answered_at, 'epoch') AS at,
               count(*) FILTER (WHERE a.outcome = 'sent')::int AS sent,
               count(*) FILTER (WHERE a.outcome = 'wait')::int AS too_many_requests,
               count(*) FILTER (WHERE a.outcome NOT IN ('sent', 'wait'))::int AS failed
          FROM outbox.attempt a
         WHERE a.answered_at >= v_since AND a.answered_at < v_until
         GROUP BY 1, 2),
    shown AS (
        SELECT o.bot, coalesce(nullif(k.active_tokens, 0), o.rate) * p_step_s / o.rate_window_s AS allowed
          FROM outbox.bot o
          JOIN outbox.bucket k ON k.bot = o.bot
          LEFT JOIN (SELECT d.bot, sum(d.sent + d.too_many_requests + d.failed) AS calls FROM done d GROUP BY d.bot) d
            ON d.bot = o.bot
         ORDER BY coalesce(d.calls, 0) DESC, o.bot LIMIT 20)
    SELECT s.bot, g.at, coalesce(d.sent, 0), coalesce(d.too_many_requests, 0), coalesce(d.failed, 0), s.allowed
      FROM shown s
     CROSS JOIN generate_series(date_bin(v_step, v_since, 'epoch'), v_until - v_step, v_step) g (at)
      LEFT JOIN done d ON d.bot = s.bot AND d.at = g.at
     ORDER BY s.bot, g.at;
END $$;
COMMENT ON FUNCTION outbox.rate_series IS
    'Calls per bot and step of the last minutes: sent, too_many_requests (429), failed; allowed: messages per step that the limit in use now permits, NULL: unlimited. Of 20 bots at most. No rows until two hours after the day of the upgrade to revision 0009, where that day is large.';

-- Promise: how many messages of each bot ended with each status in the last minutes; sent counts calls that sent. Nothing on
-- the day of the upgrade that brings their indexes, see lacks_index.
-- Locks: nothing.  Cost: what ended in that time, by index.
CREATE OR REPLACE FUNCTION outbox.outcomes(p_minutes int DEFAULT 15)
RETURNS TABLE (bot text, status text, count bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_since CONSTANT timestamptz := outbox.clock() - make_interval(mins => p_minutes);
BEGIN
    IF coalesce(p_minutes NOT BETWEEN 1 AND 1440, true) THEN
        RAISE EXCEPTION '% minutes are no time to count outcomes of', coalesce(p_minutes::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 1440 minutes.';
    END IF;
    IF outbox.lacks_index('attempt_answered', v_since) OR outbox.lacks_index('finished_unsent', v_since) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT x.bot, x.status, sum(x.n)::bigint
      FROM (SELECT a.bot, 'sent' AS status, count(*) AS n
              FROM outbox.attempt a WHERE a.answered_at >= v_since AND a.outcome = 'sent' GROUP BY a.bot
            UNION ALL
            SELECT f.bot, f.status, count(*)
              FROM outbox.finished f WHERE f.finished_at >= v_since AND f.status <> 'sent' GROUP BY f.bot, f.status
            UNION ALL
            SELECT d.bot, d.status, count(*) FROM outbox.dead_letter d WHERE d.died_at >= v_since GROUP BY d.bot, d.status) x
     GROUP BY x.bot, x.status ORDER BY x.bot, sum(x.n) DESC;
END $$;
COMMENT ON FUNCTION outbox.outcomes IS
    'How many messages of each bot ended in the last minutes, by status: sent, expired, cancelled, superseded, discarded, dead, uncertain. No rows until two hours after the day of the upgrade to revision 0009, where that day is large.';

-- Promise: whether a day of attempt or finished from p_since on, or the default partition, is without this index of its
-- table, as on the day of an upgrade, and too large to be read whole: more than 8 MB.
-- Locks: nothing.  Cost: a look at the catalogue.
CREATE OR REPLACE FUNCTION outbox.lacks_index(p_index text, p_since timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM pg_index i
          JOIN pg_inherits h ON h.inhparent = i.indrelid
          JOIN pg_class t ON t.oid = h.inhrelid
         WHERE i.indexrelid = to_regclass('outbox.' || quote_ident(p_index)) AND NOT i.indisvalid
           AND (t.relname !~ '_[0-9]{8}$' OR right(t.relname, 8) >= to_char(p_since AT TIME ZONE 'UTC', 'YYYYMMDD'))
           AND NOT EXISTS (SELECT FROM pg_inherits c JOIN pg_index x ON x.indexrelid = c.inhrelid
                            WHERE c.inhparent = i.indexrelid AND x.indrelid = t.oid)
           AND pg_relation_size(t.oid) >= 8388608)
$$;
COMMENT ON FUNCTION outbox.lacks_index IS
    'Whether a large day of attempt or finished since then lacks this index of its table: on the day of an upgrade, and until outbox.index_history made it.';
