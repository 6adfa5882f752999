-- Promise: for each priority of a bot, when a message inserted now has its turn, and what that rests on.
-- Locks: nothing.
-- Cost: one row each of bot, bucket and backlog, whatever waits. Only when nobody has measured for a minute (no worker
-- keeps house) it counts for itself, at most 100,000 rows.
-- The backlog is that of the last measurement, moved on by what is known since: slots given end what was ahead, and
-- what keeps coming has come meanwhile.
CREATE OR REPLACE FUNCTION outbox.estimate_pressure(
    p_bot text, OUT priority smallint, OUT expected_delay_s float8, OUT backlog_s float8, OUT waits_for text,
    OUT waits_until timestamptz, OUT per_s float8, OUT due float8, OUT ahead float8, OUT better float8,
    OUT beside float8, OUT share float8, OUT inflow_per_s float8, OUT worse int, OUT measured_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now CONSTANT timestamptz := outbox.clock();
    o outbox.bot;
    k outbox.bucket;
    g outbox.backlog;
    v_rate_s float8;
    v_lanes float8;         -- chats that can take every slot between them
    v_elapsed_s float8 := 0;
    v_served float8 := 0;   -- messages sent since the measurement
    v_came_s float8;        -- messages a second that keep coming
    v_better_due float8;
    v_gone float8;
    v_turns float8;
    v_start_s float8;
BEGIN
    SELECT * INTO o FROM outbox.bot x WHERE x.bot = p_bot;
    SELECT * INTO k FROM outbox.bucket x WHERE x.bot = p_bot;
    SELECT * INTO g FROM outbox.backlog x WHERE x.bot = p_bot;
    IF k.bot IS NULL THEN
        RETURN;
    END IF;
    IF g.measured_at BETWEEN v_now - interval '60 s' AND v_now THEN
        v_elapsed_s := extract(epoch FROM v_now - g.measured_at);
        v_served := greatest(k.last_slot - g.last_slot - g.other_per_s * v_elapsed_s, 0);
    ELSE
        SELECT c.due, c.heads, c.saturating, c.lasting_lanes, c.longest
          INTO g.due, g.heads, g.saturating, g.lasting_lanes, g.longest FROM outbox.count_backlog(p_bot, 100000) c;
        g.measured_at := NULL;
        g.arrived_per_s := array_fill(0, ARRAY[12]);
        g.other_per_s := 0;
    END IF;

    SELECT w.waits_for, w.waits_until INTO waits_for, waits_until FROM outbox.bot_waits_for(k, v_now) w;
    v_start_s := coalesce(extract(epoch FROM waits_until - v_now), 0);

    -- 0.98: what a window loses to jitter and to claims that come late (docs/performance.md).
    v_rate_s := CASE WHEN cardinality(k.free_at) > 0 THEN 0.98 * k.active_tokens / o.rate_window_s
                     WHEN o.rate IS NOT NULL
                     THEN 1 / outbox.gcra_step_s(coalesce(nullif(k.active_tokens, 0), o.rate), o.rate_window_s) END;
    -- A chat is back after its interval, the round trip and a claim.
    v_lanes := o.rate * (o.chat_interval_s + 0.1 + outbox.least_round_trip_s(k)) / o.rate_window_s;
    -- Replies that the bot sends itself and failed attempts take their slots too; a tenth is always left.
    per_s := greatest(v_rate_s - g.other_per_s, v_rate_s / 10);
    measured_at := g.measured_at;
    -- The least of three times: a broadcast inserted at once does not keep coming.
    inflow_per_s := 0;
    -- Expressions, not queries, from here on (measured on a busy machine: 2.9 ms with them, 1.3 ms without).
    FOR i IN 1 .. 4 LOOP
        priority := i - 1;
        v_came_s := least(g.arrived_per_s[i], g.arrived_per_s[i + 4], g.arrived_per_s[i + 8]);
        worse := (i < 2 AND g.due[2] > g.due[1])::int + (i < 3 AND g.due[3] > g.due[2])::int
                 + (i < 4 AND g.due[4] > g.due[3])::int;
        v_gone := v_served - inflow_per_s * v_elapsed_s;
        better := greatest(coalesce(g.saturating[i - 1], 0) - greatest(v_gone, 0), 0);
        v_better_due := greatest(coalesce(g.due[i - 1], 0) - v_gone, 0);
        beside := greatest(v_better_due - better, 0);
        share := CASE WHEN v_better_due > 0 THEN least(g.lasting_lanes[i - 1] / nullif(v_lanes, 0), 1) END;
        share := coalesce(share, 0);

        due := greatest(g.due[i] - coalesce(g.due[i - 1], 0) + v_came_s * v_elapsed_s
                        - greatest(v_gone - coalesce(g.due[i - 1], 0), 0), 0);
        ahead := least(g.heads[i] + v_came_s * v_elapsed_s, due);
        -- Chats that have more and sent one less than an interval ago are behind a newcomer (docs/decisions/0005).
        v_turns := CASE WHEN due > 0 AND per_s IS NOT NULL
                        THEN least(per_s * o.chat_interval_s, ahead) * (1 - ahead / due) ELSE 0 END;
        expected_delay_s := NULL;
        backlog_s := NULL;
        IF NOT (k.stopped OR k.unauthorised) THEN
            expected_delay_s := v_start_s + outbox.turn_in_s(
                i - 1, per_s, ahead - v_turns, better, beside, share, inflow_per_s, worse);
            backlog_s := v_start_s + greatest(
                outbox.turn_in_s(i - 1, per_s, due, better, beside, share, inflow_per_s, worse),
                (g.longest[i] - 1) * o.chat_interval_s);
        END IF;
        RETURN NEXT;
        inflow_per_s := inflow_per_s + v_came_s;
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.estimate_pressure IS
    'When a message inserted now has its turn, per priority. Read outbox.pressure.';

-- Promise: what a bot as a whole waits for, what lasts longest first, and until when at least; NULL: nothing.
-- Locks: nothing.  Cost: a look at the living workers.
CREATE OR REPLACE FUNCTION outbox.bot_waits_for(
    k outbox.bucket, p_now timestamptz, OUT waits_for text, OUT waits_until timestamptz)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    waits_until := greatest(CASE WHEN k.paused_until > p_now THEN k.paused_until END,
                            CASE WHEN k.breaker = 'open' AND k.breaker_until > p_now THEN k.breaker_until END);
    waits_for := CASE WHEN k.stopped THEN 'stopped'
                      WHEN k.unauthorised THEN 'unauthorised'
                      WHEN NOT EXISTS (SELECT FROM outbox.worker w
                                        WHERE w.ended_at IS NULL AND outbox.lease_ends_at(w.lease_until) > p_now
                                          AND k.bot = ANY (w.bots)) THEN 'no worker'
                      WHEN k.paused_until > p_now AND k.paused_until = waits_until THEN 'paused'
                      WHEN k.breaker = 'open' AND k.breaker_until > p_now THEN 'breaker open'
                      WHEN k.breaker <> 'closed' THEN 'breaker half-open' END;
END $$;
COMMENT ON FUNCTION outbox.bot_waits_for IS 'What a bot as a whole waits for. Part of pressure and explain.';

-- Promise: expected delay per bot and priority, cheap enough to ask before each insert, so that a producer can degrade.
-- Cost: see estimate_pressure, once per bot asked for.
CREATE OR REPLACE VIEW outbox.pressure AS
SELECT o.bot, p.priority, p.expected_delay_s, p.backlog_s, p.waits_for, p.waits_until, p.per_s, p.measured_at
  FROM outbox.bot o CROSS JOIN LATERAL outbox.estimate_pressure(o.bot) p;
COMMENT ON VIEW outbox.pressure IS
    'Per bot and priority, in seconds: expected_delay_s, how long a message inserted now to a chat with nothing waiting would wait; backlog_s, until all that is due at this priority or better is sent. NULL: never, as waits_for says (stopped or unauthorised). Also waits_for: no worker, paused, breaker open or half-open; waits_until: at least that long; per_s: slots a second for messages, NULL: unlimited; measured_at NULL: counted just now.';
