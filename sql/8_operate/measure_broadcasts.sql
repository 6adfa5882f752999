-- Promise: what ended with a tag since the last time is counted into outbox.broadcast, each message once, and the mark says
-- up to which transaction: what was open then is counted the next time, and by outbox.broadcasts at once. Tags of which
-- nothing waits and nothing has ended for p_days are dropped, once an hour. Returns how many tags had something.
-- After a restore or a copy, once outbox adopt was run, all is counted anew from what history keeps.
-- Locks: the mark, waited for: two at once would count twice.
-- Cost: what ended since the last time, by index; one HOT update per tag of these.
CREATE OR REPLACE FUNCTION outbox.measure_broadcasts(p_days int DEFAULT 30) RETURNS bigint
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET work_mem = '64MB'
SET jit = off AS $$
DECLARE
    v_now timestamptz;
    v_xid xid8;
    v_before timestamptz;
    v_adopted_at timestamptz;
    v_tags bigint;
    k record;
BEGIN
    INSERT INTO outbox.broadcast_mark (measured_at, measured_xid) VALUES ('-infinity', '0') ON CONFLICT DO NOTHING;
    PERFORM FROM outbox.broadcast_mark FOR UPDATE;
    -- Look after you lock (I3): later statements.
    SELECT s.* INTO k FROM outbox.broadcast_state() s;
    v_xid := pg_snapshot_xmin(pg_current_snapshot());
    v_now := outbox.clock();
    IF NOT k.is_own AND NOT k.is_adopted THEN
        -- Whose numbers these are is known when the copy is somebody's.
        RETURN 0;
    END IF;
    v_before := least(greatest(k.measured_at, v_now - interval '30 s'), v_now);
    IF NOT k.is_own THEN
        DELETE FROM outbox.broadcast;
        DELETE FROM outbox.tally;
        v_adopted_at := (SELECT i.adopted_at FROM outbox.identity i);
    END IF;

    INSERT INTO outbox.broadcast AS b (
        tag, bot, sent, expired, cancelled, superseded, discarded, ended_before, first_created_at, last_finished_at)
    SELECT e.tag, e.bot, sum(e.sent), sum(e.expired), sum(e.cancelled), sum(e.superseded), sum(e.discarded),
           sum(e.sent + e.expired + e.cancelled + e.superseded + e.discarded)
               -- What began to move after v_before counts as if it had moved at this pace since then.
               - round(sum(e.lately) * extract(epoch FROM v_now - v_before)
                       / greatest(extract(epoch FROM v_now - coalesce(min(e.first_lately_at), v_before)), 1)),
           min(e.first_created_at), max(e.last_finished_at)
      FROM (SELECT * FROM outbox.count_ended(k.from_xid, v_xid, k.own_since, 'infinity', v_before)
            UNION ALL
            -- What a dump brought and bears numbers ahead of ours: never again, when ours pass them.
            SELECT * FROM outbox.count_ended(v_xid, '18446744073709551615', '-infinity', v_adopted_at, v_before)
             WHERE NOT k.is_own) e
     GROUP BY e.tag, e.bot
    ON CONFLICT (tag, bot) DO UPDATE
       SET sent = b.sent + excluded.sent, expired = b.expired + excluded.expired,
           cancelled = b.cancelled + excluded.cancelled, superseded = b.superseded + excluded.superseded,
           discarded = b.discarded + excluded.discarded,
           ended_before = b.sent + b.expired + b.cancelled + b.superseded + b.discarded + excluded.ended_before,
           first_created_at = least(b.first_created_at, excluded.first_created_at),
           last_finished_at = greatest(b.last_finished_at, excluded.last_finished_at);
    GET DIAGNOSTICS v_tags = ROW_COUNT;
    PERFORM outbox.measure_tally(k.from_xid, v_xid, k.own_since, v_adopted_at);
    UPDATE outbox.broadcast_mark SET measured_at = v_now, measured_xid = v_xid, before_at = v_before;

    IF date_trunc('hour', v_now) <> date_trunc('hour', k.measured_at) THEN
        DELETE FROM outbox.broadcast b
         WHERE b.last_finished_at < v_now - make_interval(days => p_days)
           AND (SELECT true FROM outbox.message m WHERE m.tag = b.tag AND m.bot = b.bot LIMIT 1) IS NULL
           AND (SELECT true FROM outbox.dead_letter d WHERE d.tag = b.tag AND d.bot = b.bot LIMIT 1) IS NULL;
    END IF;
    RETURN v_tags;
END $$;
COMMENT ON FUNCTION outbox.measure_broadcasts IS
    'Counts what ended with a tag into outbox.broadcast, for outbox.broadcasts. For housekeeping, every 15 s.';
