-- Promise: the alerts of grafana/alerts as the database alone can judge them, a row per alert and what it is about (bot,
-- priority, duty, table); is_firing now, whatever lasted for how long: a check that is asked once has no memory.
-- p_values: the thresholds, outbox/observe/thresholds.toml as JSON; `outbox check alerts` brings them.
-- Locks: nothing.  Cost: that of gauges; what ended within long_s, at most 100,000 of each; calls within window_s.
CREATE OR REPLACE FUNCTION outbox.check_alerts(p_values jsonb)
RETURNS TABLE (alert text, subject text, is_firing boolean, value float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_failing CONSTANT text[] := ARRAY['DeliveryFailing', 'DeliveryDegraded'];
    v_alert text;
BEGIN
    IF p_values -> 'general' IS NULL THEN
        RAISE EXCEPTION 'the thresholds are missing' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Call outbox check alerts, or give outbox/observe/thresholds.toml as JSON.';
    END IF;
    RETURN QUERY
    WITH g AS MATERIALIZED (SELECT x.name, x.labels, x.value FROM outbox.gauges() x),
    judged AS (
        SELECT 'BotFlooded' AS alert, g.labels ->> 'bot' AS subject, g.value,
               g.value >= outbox.threshold(p_values, 'BotFlooded', 'chats') AS fires
          FROM g WHERE g.name = 'flooded_chats'
        UNION ALL
        SELECT 'CriticalMessageWaits', g.labels ->> 'bot', g.value,
               g.value > outbox.threshold(p_values, 'CriticalMessageWaits', 'age_s')
          FROM g WHERE g.name = 'queue_oldest_age_seconds'
                   AND (g.labels ->> 'priority')::int = outbox.threshold(p_values, 'CriticalMessageWaits', 'priority')
        UNION ALL
        SELECT 'DelayExpected', g.labels ->> 'bot', max(g.value),
               max(g.value) > outbox.threshold(p_values, 'DelayExpected', 'delay_s')
          FROM g WHERE g.name = 'expected_delay_seconds'
                   AND (g.labels ->> 'priority')::int <= outbox.threshold(p_values, 'DelayExpected', 'priority')
         GROUP BY g.labels ->> 'bot'
        UNION ALL
        -- Of how it moves the database keeps no record: that it is long.
        SELECT 'BacklogNotDraining', g.labels ->> 'bot', max(g.value),
               max(g.value) > outbox.threshold(p_values, 'BacklogNotDraining', 'backlog_s')
          FROM g WHERE g.name = 'backlog_seconds' GROUP BY g.labels ->> 'bot'
        UNION ALL
        -- Not its state: in a lasting outage it is half-open again and again, for as long as a probe takes to fail.
        SELECT 'BreakerOpen', g.labels ->> 'bot', g.value, g.value > 0
          FROM g WHERE g.name = 'breaker_openings'
        UNION ALL
        SELECT CASE g.labels ->> 'by' WHEN 'bot_token' THEN 'BotUnauthorised' ELSE 'BotPaused' END, g.labels ->> 'bot',
               max(g.value), max(g.value) = 1
          FROM g WHERE g.name = 'bot_paused' GROUP BY 1, 2
        UNION ALL
        SELECT 'SuppressionSpike', NULL, l.value,
               l.value >= outbox.threshold(p_values, 'SuppressionSpike', 'chats')
               AND l.value > outbox.threshold(p_values, 'SuppressionSpike', 'times') * b.value
          FROM g l JOIN g b ON b.name = 'suppressed_chats_per_hour_before' WHERE l.name = 'suppressed_chats_last_hour'
        UNION ALL
        SELECT 'WorkerGone', NULL, g.value, g.value > 0 FROM g WHERE g.name = 'workers_lost_last_hour'
        UNION ALL
        -- A bot whose token is refused is served by nobody, and has an alert of its own.
        SELECT 'NoWorker', w.labels ->> 'bot', q.due, w.value = 0 AND q.due > 0 AND p.value = 0
          FROM g w
          JOIN g p ON p.name = 'bot_paused' AND p.labels ->> 'by' = 'bot_token' AND p.labels ->> 'bot' = w.labels ->> 'bot'
          JOIN (SELECT g.labels ->> 'bot' AS bot, sum(g.value) AS due FROM g
                 WHERE g.name = 'queue_messages' AND g.labels ->> 'state' = 'due' GROUP BY 1) q
            ON q.bot = w.labels ->> 'bot'
         WHERE w.name = 'bot_workers'
        UNION ALL
        SELECT 'LaneWithoutWorker', NULL, g.value, g.value > 0 FROM g WHERE g.name = 'lanes_without_worker'
        UNION ALL
        SELECT 'MessagesAstray', NULL, g.value, g.value > 0 FROM g WHERE g.name = 'messages_astray'
        UNION ALL
        SELECT 'HousekeepingStale', g.labels ->> 'duty', g.value,
               g.value > outbox.threshold(p_values, 'HousekeepingStale', (g.labels ->> 'duty') || '_s')
          FROM g WHERE g.name = 'housekeeping_age_seconds'
        UNION ALL
        SELECT 'HousekeepingFailing', g.labels ->> 'duty', g.value, g.value = 1 FROM g WHERE g.name = 'housekeeping_failing'
        UNION ALL
        SELECT 'WakeupsRepaired', NULL, f.found::float8,
               f.at > v_now - make_interval(secs => outbox.threshold(p_values, 'WakeupsRepaired', 'window_s'))
          FROM (VALUES ('wakeups_repaired')) w (name)
          LEFT JOIN outbox.finding f ON f.name = w.name
        UNION ALL
        SELECT 'PartitionsMissing', g.labels ->> 'table', g.value,
               g.value < outbox.threshold(p_values, 'PartitionsMissing', 'days')
          FROM g WHERE g.name = 'partitions_ahead'
        UNION ALL
        SELECT 'SnapshotHeld', NULL, g.value,
               g.value > outbox.threshold(p_values, 'SnapshotHeld', 'age_s')
          FROM g WHERE g.name = 'snapshot_age_seconds'
        UNION ALL
        SELECT 'DeadLettersExpiring', NULL, g.value, g.value > 0 FROM g WHERE g.name = 'dead_letters_expiring')
    SELECT j.alert, j.subject, coalesce(j.fires, false), j.value FROM judged j;

    RETURN QUERY
    -- In the last window and in the one before it: again and again.
    SELECT 'TooManyRequests', a.bot, bool_or(a.is_late) AND bool_or(NOT a.is_late), count(*)::float8
      FROM (SELECT x.bot, x.answered_at > v_now - w.length AS is_late
              FROM (SELECT make_interval(secs => outbox.threshold(p_values, 'TooManyRequests', 'window_s'))) w (length)
             CROSS JOIN LATERAL (SELECT y.bot, y.answered_at FROM outbox.attempt y
                                  WHERE y.answered_at > v_now - 2 * w.length AND y.outcome = 'wait'
                                  ORDER BY y.answered_at DESC LIMIT 100000) x) a
     GROUP BY a.bot;

    RETURN QUERY
    SELECT 'CallsSlow', c.bot,
           c.slow > outbox.threshold(p_values, 'CallsSlow', 'share') * c.calls
           AND c.calls >= outbox.threshold(p_values, 'CallsSlow', 'least_calls'), c.slow / c.calls::float8
      FROM (SELECT a.bot, count(*) AS calls,
                   count(*) FILTER (WHERE a.answered_at - a.started_at
                                          > make_interval(secs => outbox.threshold(p_values, 'CallsSlow', 'longer_than'))) AS slow
              FROM (SELECT x.bot, x.started_at, x.answered_at FROM outbox.attempt x
                     WHERE x.answered_at > v_now - make_interval(secs => outbox.threshold(p_values, 'CallsSlow', 'window_s'))
                     ORDER BY x.answered_at DESC LIMIT 100000) a
             GROUP BY a.bot) c;

    FOREACH v_alert IN ARRAY v_failing LOOP
        RETURN QUERY
        SELECT v_alert, s.bot,
               s.failed_long > s.allowed * s.ended_long AND s.failed_short > s.allowed * s.ended_short
               AND s.ended_long >= outbox.threshold(p_values, v_alert, 'least_messages'),
               s.failed_long / nullif(s.ended_long, 0)::float8
          FROM (SELECT e.bot, count(*) AS ended_long, count(*) FILTER (WHERE e.failed) AS failed_long,
                       count(*) FILTER (WHERE e.is_late) AS ended_short,
                       count(*) FILTER (WHERE e.failed AND e.is_late) AS failed_short,
                       outbox.threshold(p_values, v_alert, 'burn_rate')
                       * (1 - outbox.threshold(p_values, 'general', 'objective')) AS allowed
                  FROM (SELECT x.bot, x.failed,
                               x.at > v_now - make_interval(secs => outbox.threshold(p_values, v_alert, 'short_s'))
                                   AS is_late
                          FROM outbox.outcomes_since(
                                   v_now - make_interval(secs => outbox.threshold(p_values, v_alert, 'long_s')),
                                   ARRAY(SELECT jsonb_array_elements_text(p_values -> 'general' -> 'not_ours'))) x) e
                 GROUP BY e.bot) s;
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.check_alerts IS
    'The alerts of grafana/alerts, as the database alone can judge them: alert, subject (bot, duty or table), is_firing, value. What outbox check alerts asks.';

-- Promise: a threshold; an error that names it where it is missing.  Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.threshold(p_values jsonb, p_alert text, p_name text) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_value float8 := (p_values -> p_alert ->> p_name)::float8;
BEGIN
    IF v_value IS NULL THEN
        RAISE EXCEPTION 'threshold %.% is missing', p_alert, p_name USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Take outbox/observe/thresholds.toml of this release.';
    END IF;
    RETURN v_value;
END $$;
COMMENT ON FUNCTION outbox.threshold IS 'One threshold of the alerts. Part of check_alerts.';

-- Promise: what was sent or became a dead letter since p_since, without those whose class is one of p_not_ours; failed: a dead
-- letter. Of at most the newest 100,000 of each: where one of them ends earlier, both do, or the share would be wrong.
-- Locks: nothing.  Cost: these rows, by index: attempt by its time, dead_letter by death.
CREATE OR REPLACE FUNCTION outbox.outcomes_since(
    p_since timestamptz, p_not_ours text[], OUT bot text, OUT at timestamptz, OUT failed boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_most CONSTANT int := 100000;
    v_since CONSTANT timestamptz := greatest(
        p_since,
        (SELECT a.answered_at FROM outbox.attempt a
          WHERE a.answered_at > p_since AND a.outcome = 'sent' ORDER BY a.answered_at DESC LIMIT 1 OFFSET v_most),
        (SELECT d.died_at FROM outbox.dead_letter d
          WHERE d.died_at > p_since ORDER BY d.died_at DESC LIMIT 1 OFFSET v_most));
BEGIN
    RETURN QUERY
    SELECT a.bot, a.answered_at, false FROM outbox.attempt a WHERE a.answered_at > v_since AND a.outcome = 'sent'
    UNION ALL
    SELECT d.bot, d.died_at, true FROM outbox.dead_letter d
     WHERE d.died_at > v_since AND coalesce(d.error_class, '') <> ALL (p_not_ours);
END $$;
COMMENT ON FUNCTION outbox.outcomes_since IS 'What was sent or died lately. Part of check_alerts.';
