-- Promise: outbox.tally says what became of each bot's messages, by method: what ended, or became a dead letter, in
-- transactions from p_from on and below p_below, after p_after, is added to what it said before. Its rows accepted are the
-- sum of what ended, what ended since, what waits and what is dead, all of one snapshot: each message once, whoever moves it
-- this moment.
-- p_brought_until: after a restore, also what a dump brought and bears numbers ahead of ours: never again, when ours pass
-- them. NULL otherwise.
-- Locks: rows of tally.
-- Cost: what ended since the last time, by index, and one walk over what waits and over the dead letters.
CREATE OR REPLACE FUNCTION outbox.measure_tally(
    p_from xid8, p_below xid8, p_after timestamptz, p_brought_until timestamptz) RETURNS void
LANGUAGE plpgsql
-- measure_broadcasts, which calls it, forbids the scans that all of message and dead_letter need.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = on SET enable_bitmapscan = off SET work_mem = '64MB'
SET jit = off AS $$
DECLARE
    v_above CONSTANT xid8 := '18446744073709551615';
BEGIN
    WITH ended AS MATERIALIZED (
        SELECT * FROM outbox.count_ended_by_class(p_from, p_below, p_after, 'infinity')
        UNION ALL
        SELECT * FROM outbox.count_ended_by_class(p_below, v_above, '-infinity', p_brought_until)),
    named AS MATERIALIZED (
        SELECT outbox.name_methods(ARRAY(
            SELECT e.method FROM ended e
             GROUP BY e.method ORDER BY e.method <> 'sendMessage', sum(e.messages) DESC, e.method)) AS methods)
    INSERT INTO outbox.tally AS t (bot, method, status, error_class, messages, measured_at)
    SELECT e.bot, CASE WHEN e.method = ANY (n.methods) THEN e.method ELSE 'other' END, e.status, e.error_class,
           sum(e.messages)::bigint, outbox.clock()
      FROM ended e CROSS JOIN named n
     GROUP BY 1, 2, 3, 4
    ON CONFLICT (bot, method, status, error_class) DO UPDATE
       SET messages = t.messages + excluded.messages, measured_at = excluded.measured_at;

    WITH written AS MATERIALIZED (
        SELECT m.bot, m.method, count(*) AS messages FROM outbox.message m GROUP BY m.bot, m.method
        UNION ALL
        SELECT d.bot, d.method, count(*) FROM outbox.dead_letter d GROUP BY d.bot, d.method
        UNION ALL
        SELECT e.bot, e.method, e.messages
          FROM outbox.count_ended_by_class(p_below, v_above, coalesce(p_brought_until, p_after), 'infinity') e
         WHERE e.status NOT IN ('dead', 'uncertain')
        UNION ALL
        SELECT t.bot, t.method, t.messages FROM outbox.tally t WHERE t.status NOT IN ('dead', 'uncertain', 'accepted')
        UNION ALL
        SELECT o.bot, 'sendMessage', 0 FROM outbox.bot o),
    accepted AS MATERIALIZED (
        SELECT w.bot, w.method, sum(w.messages) AS messages FROM written w JOIN outbox.bot o ON o.bot = w.bot
         GROUP BY w.bot, w.method),
    named AS MATERIALIZED (
        SELECT outbox.name_methods(ARRAY(
            SELECT a.method FROM accepted a
             GROUP BY a.method ORDER BY a.method <> 'sendMessage', sum(a.messages) DESC, a.method)) AS methods)
    INSERT INTO outbox.tally AS t (bot, method, status, error_class, messages, measured_at)
    SELECT a.bot, CASE WHEN a.method = ANY (n.methods) THEN a.method ELSE 'other' END, 'accepted', '',
           sum(a.messages)::bigint, outbox.clock()
      FROM accepted a CROSS JOIN named n
     GROUP BY 1, 2
    ON CONFLICT (bot, method, status, error_class) DO UPDATE
       -- Never less: a counter that goes back says to a monitor that it began anew.
       SET messages = greatest(t.messages, excluded.messages), measured_at = excluded.measured_at;
END $$;
COMMENT ON FUNCTION outbox.measure_tally IS
    'Counts what became of each bot''s messages into outbox.tally. Part of measure_broadcasts.';

-- Promise: the methods that outbox.tally names, and the first of p_seen while there are fewer than 100 of all bots: the
-- column takes any name, and a metric's labels must be few. What is named stays so until outbox adopt: a method that changed
-- its place would count twice.
-- Locks: nothing.  Cost: the rows of tally.
CREATE OR REPLACE FUNCTION outbox.name_methods(p_seen text[]) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(x.method), '{}')
      FROM (SELECT s.method
              FROM (SELECT t.method, 0 AS place FROM outbox.tally t
                    UNION ALL
                    SELECT u.method, u.place FROM unnest(p_seen) WITH ORDINALITY u (method, place)) s
             WHERE s.method <> 'other'
             GROUP BY s.method
             ORDER BY min(s.place), s.method
             LIMIT 100) x
$$;
COMMENT ON FUNCTION outbox.name_methods IS
    'The methods by which outbox.tally counts, at most 100; the rest is other. Part of measure_tally.';

-- Promise: of the messages that ended, or became dead letters and still are, in transactions from p_from on and below
-- p_below, after p_after and not after p_until: how many of each bot and method ended how, by error class (empty for none).
-- Locks: nothing.  Cost: one index probe per kept day, then the rows in between.
CREATE OR REPLACE FUNCTION outbox.count_ended_by_class(
    p_from xid8, p_below xid8, p_after timestamptz, p_until timestamptz,
    OUT bot text, OUT method text, OUT status text, OUT error_class text, OUT messages bigint) RETURNS SETOF record
LANGUAGE plpgsql STABLE
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT e.bot, e.method, e.status, e.error_class, count(*)
      FROM (SELECT f.bot, f.method, f.status, coalesce(f.error_class, '') AS error_class
              FROM outbox.finished f
             WHERE f.xid >= p_from AND f.xid < p_below AND f.finished_at > p_after AND f.finished_at <= p_until
            UNION ALL
            SELECT d.bot, d.method, d.status, coalesce(d.error_class, '')
              FROM outbox.dead_letter d
             WHERE d.xid >= p_from AND d.xid < p_below AND d.died_at > p_after AND d.died_at <= p_until) e
     GROUP BY e.bot, e.method, e.status, e.error_class;
END $$;
COMMENT ON FUNCTION outbox.count_ended_by_class IS
    'Counts what ended between two transactions, by bot, method, status and error class. Part of measure_tally.';
