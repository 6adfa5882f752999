-- Promise: outbox.tally says what became of each bot's messages: what ended in transactions from p_from on and below p_below,
-- after p_after, is added to what it said before; and accepted: these, what ended since, what waits and what is dead, all of
-- one snapshot: each message counts once, whoever moves it this moment.
-- p_brought_until: after a restore, also what a dump brought and bears numbers ahead of ours: never again, when ours pass
-- them. NULL otherwise.
-- Locks: rows of tally.
-- Cost: what ended since the last time, by index, and one walk over what waits and over the dead letters.
CREATE OR REPLACE FUNCTION outbox.measure_tally(
    p_from xid8, p_below xid8, p_after timestamptz, p_brought_until timestamptz) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_bitmapscan = off SET work_mem = '64MB' SET jit = off AS $$
BEGIN
    INSERT INTO outbox.tally AS t (bot, sent, expired, cancelled, superseded, discarded, measured_at)
    SELECT o.bot, coalesce(sum(e.sent), 0), coalesce(sum(e.expired), 0), coalesce(sum(e.cancelled), 0),
           coalesce(sum(e.superseded), 0), coalesce(sum(e.discarded), 0), outbox.clock()
      FROM outbox.bot o
      LEFT JOIN (SELECT * FROM outbox.count_ended_of_bots(p_from, p_below, p_after, 'infinity')
                 UNION ALL
                 SELECT * FROM outbox.count_ended_of_bots(p_below, '18446744073709551615', '-infinity', p_brought_until)) e
             ON e.bot = o.bot
     GROUP BY o.bot
    ON CONFLICT (bot) DO UPDATE
       SET sent = t.sent + excluded.sent, expired = t.expired + excluded.expired,
           cancelled = t.cancelled + excluded.cancelled, superseded = t.superseded + excluded.superseded,
           discarded = t.discarded + excluded.discarded, measured_at = excluded.measured_at;
    UPDATE outbox.tally t
       SET accepted = t.sent + t.expired + t.cancelled + t.superseded + t.discarded + coalesce(x.messages, 0)
      FROM outbox.tally y
      LEFT JOIN (SELECT l.bot, sum(l.messages)::bigint AS messages
                   FROM (SELECT m.bot, count(*) AS messages FROM outbox.message m GROUP BY m.bot
                         UNION ALL
                         SELECT d.bot, count(*) FROM outbox.dead_letter d GROUP BY d.bot
                         UNION ALL
                         SELECT e.bot, e.sent + e.expired + e.cancelled + e.superseded + e.discarded
                           FROM outbox.count_ended_of_bots(p_below, '18446744073709551615',
                                                           coalesce(p_brought_until, p_after), 'infinity') e) l
                  GROUP BY l.bot) x ON x.bot = y.bot
     WHERE t.bot = y.bot;
END $$;
COMMENT ON FUNCTION outbox.measure_tally IS
    'Counts what became of each bot''s messages into outbox.tally. Part of measure_broadcasts.';

-- Promise: of the messages that ended in transactions from p_from on and below p_below, after p_after and not after p_until:
-- how many of each bot ended how.
-- Locks: nothing.  Cost: one index probe per kept day, then the rows in between.
CREATE OR REPLACE FUNCTION outbox.count_ended_of_bots(
    p_from xid8, p_below xid8, p_after timestamptz, p_until timestamptz,
    OUT bot text, OUT sent bigint, OUT expired bigint, OUT cancelled bigint, OUT superseded bigint,
    OUT discarded bigint) RETURNS SETOF record
LANGUAGE plpgsql STABLE
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT f.bot, count(*) FILTER (WHERE f.status = 'sent'), count(*) FILTER (WHERE f.status = 'expired'),
           count(*) FILTER (WHERE f.status = 'cancelled'), count(*) FILTER (WHERE f.status = 'superseded'),
           count(*) FILTER (WHERE f.status = 'discarded')
      FROM outbox.finished f
     WHERE f.xid >= p_from AND f.xid < p_below AND f.finished_at > p_after AND f.finished_at <= p_until
     GROUP BY f.bot;
END $$;
COMMENT ON FUNCTION outbox.count_ended_of_bots IS
    'Counts what ended between two transactions, per bot. Part of measure_tally.';
