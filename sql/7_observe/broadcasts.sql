-- Promise: how far outbox.broadcast may be believed by this snapshot: it holds what ended in transactions below from_xid,
-- what bears a number from there on (and below below_xid, after own_since) is still to be counted; before_at: since when
-- the pace is reckoned. is_own false: nothing was counted yet, or elsewhere: the database was restored or copied since,
-- and its rows bear the numbers of another server. Then from_xid is 0: all that is kept is to be counted.
-- Locks: nothing.  Cost: two rows.
CREATE OR REPLACE FUNCTION outbox.broadcast_state(
    OUT is_own boolean, OUT is_adopted boolean, OUT from_xid xid8, OUT below_xid xid8, OUT own_since timestamptz,
    OUT measured_at timestamptz, OUT before_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT o.is_own, o.is_adopted,
           CASE WHEN o.is_own THEN m.measured_xid ELSE '0' END,
           -- Not beyond: what a dump brought may bear numbers that we have not reached yet. Own rows of this transaction
           -- are above the snapshot's.
           CASE WHEN o.is_own THEN greatest(pg_snapshot_xmax(o.snapshot), o.own_xid) ELSE '18446744073709551615' END,
           CASE WHEN o.is_own THEN coalesce(i.adopted_at, '-infinity') ELSE '-infinity' END,
           m.measured_at,
           CASE WHEN o.is_own AND m.measured_at BETWEEN o.now - interval '60 s' AND o.now THEN m.before_at
                ELSE o.now - interval '60 s' END
      FROM (VALUES (pg_current_snapshot())) v (snapshot)
      LEFT JOIN outbox.broadcast_mark m ON true
      LEFT JOIN outbox.identity i ON true
     CROSS JOIN LATERAL (
            SELECT coalesce(m.measured_xid <= pg_snapshot_xmin(v.snapshot) AND NOT a.is_adopted, false) AS is_own,
                   a.is_adopted, v.snapshot, outbox.clock() AS now,
                   ((pg_current_xact_id_if_assigned()::text::numeric + 1)::text)::xid8 AS own_xid
              FROM (SELECT coalesce(i.adopted_at > m.measured_at, false) AS is_adopted) a OFFSET 0) o
$$;
COMMENT ON FUNCTION outbox.broadcast_state IS 'What outbox.broadcast has counted, as this snapshot sees it. Part of broadcasts.';

-- Promise: of the messages with a tag that ended in transactions from p_from on and below p_below, after p_after and not
-- after p_until: how many of each bot ended how; and the pace: how many left the queue after p_before (lately; a dead
-- letter that a person discards left it long ago) and when the first of those did.
-- Locks: nothing.  Cost: one index probe per kept day, then the rows in between, tagged or not.
CREATE OR REPLACE FUNCTION outbox.count_ended(
    p_from xid8, p_below xid8, p_after timestamptz, p_until timestamptz, p_before timestamptz,
    OUT tag text, OUT bot text, OUT sent bigint, OUT expired bigint, OUT cancelled bigint, OUT superseded bigint,
    OUT discarded bigint, OUT lately bigint, OUT first_lately_at timestamptz, OUT first_created_at timestamptz,
    OUT last_finished_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT f.tag, f.bot, count(*) FILTER (WHERE f.status = 'sent'), count(*) FILTER (WHERE f.status = 'expired'),
           count(*) FILTER (WHERE f.status = 'cancelled'), count(*) FILTER (WHERE f.status = 'superseded'),
           count(*) FILTER (WHERE f.status = 'discarded'), count(*) FILTER (WHERE f.has_moved),
           min(f.finished_at) FILTER (WHERE f.has_moved), min(f.created_at), max(f.finished_at)
      FROM (SELECT x.tag, x.bot, x.status, x.created_at, x.finished_at,
                   x.finished_at > p_before
                       AND coalesce(x.error_class NOT IN ('discarded_by_operator', 'retention'), true) AS has_moved
              FROM outbox.finished x
             WHERE x.xid >= p_from AND x.xid < p_below AND x.finished_at > p_after AND x.finished_at <= p_until
               AND x.tag IS NOT NULL) f
     GROUP BY f.tag, f.bot;
END $$;
COMMENT ON FUNCTION outbox.count_ended IS 'Counts what ended with a tag between two transactions. Part of broadcasts.';

-- Promise: one row per tag and bot: what became of all its messages, exact in every snapshot (each message counts in one
-- column, whoever moves it this moment), how far it is and when it will be through. No payload.
-- Cost: filtered by tag: what waits and the dead letters of that tag, and what ended since housekeeping counted last,
-- 15 s ago (or since the oldest open transaction of the cluster began). Unfiltered: all that waits with a tag.
CREATE OR REPLACE VIEW outbox.broadcasts AS
SELECT b.tag, b.bot, b.waiting + b.sent + b.dead + b.uncertain + b.expired + b.cancelled + b.superseded + b.discarded
           AS accepted,
       b.waiting, b.sent, b.dead, b.uncertain, b.expired, b.cancelled, b.superseded, b.discarded,
       1 - b.waiting::float8 / nullif(b.waiting + b.sent + b.dead + b.uncertain + b.expired + b.cancelled
                                      + b.superseded + b.discarded, 0) AS progress,
       p.ended_per_s, p.eta_s, t.now + make_interval(secs => p.eta_s) AS eta_at,
       b.first_created_at, b.last_finished_at,
       (SELECT max(s.requested_at) FROM outbox.stop s WHERE s.tag = b.tag AND coalesce(s.bot = b.bot, true))
           AS cancel_requested_at
  FROM (SELECT x.tag, x.bot, sum(x.waiting)::bigint AS waiting, sum(x.sent)::bigint AS sent, sum(x.dead)::bigint AS dead,
               sum(x.uncertain)::bigint AS uncertain, sum(x.expired)::bigint AS expired,
               sum(x.cancelled)::bigint AS cancelled, sum(x.superseded)::bigint AS superseded,
               sum(x.discarded)::bigint AS discarded, sum(x.counted_lately)::float8 AS counted_lately,
               sum(x.lately)::float8 AS lately, min(x.first_lately_at) AS first_lately_at, min(x.before_at) AS before_at,
               min(x.first_created_at) AS first_created_at, max(x.last_finished_at) AS last_finished_at
          FROM (SELECT s.tag, s.bot, 0::bigint AS waiting, s.sent, 0::bigint AS dead, 0::bigint AS uncertain, s.expired,
                       s.cancelled, s.superseded, s.discarded,
                       CASE WHEN s.last_finished_at > k.before_at
                            THEN s.sent + s.expired + s.cancelled + s.superseded + s.discarded - s.ended_before
                            ELSE 0 END AS counted_lately,
                       0::bigint AS lately, NULL::timestamptz AS first_lately_at, k.before_at, s.first_created_at,
                       s.last_finished_at
                  FROM outbox.broadcast s CROSS JOIN outbox.broadcast_state() k
                 WHERE k.is_own
                UNION ALL
                SELECT e.tag, e.bot, 0, e.sent, 0, 0, e.expired, e.cancelled, e.superseded, e.discarded, 0, e.lately,
                       e.first_lately_at, k.before_at, e.first_created_at, e.last_finished_at
                  FROM outbox.broadcast_state() k
                 CROSS JOIN LATERAL outbox.count_ended(k.from_xid, k.below_xid, k.own_since, 'infinity', k.before_at) e
                UNION ALL
                SELECT m.tag, m.bot, count(*), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, min(m.created_at), NULL
                  FROM outbox.message m
                 WHERE m.tag IS NOT NULL
                 GROUP BY m.tag, m.bot
                UNION ALL
                SELECT d.tag, d.bot, 0, 0, (d.status = 'dead')::int, (d.status = 'uncertain')::int, 0, 0, 0, 0, 0,
                       (d.died_at > k.before_at)::int, CASE WHEN d.died_at > k.before_at THEN d.died_at END, k.before_at,
                       d.created_at, d.died_at
                  FROM outbox.dead_letter d CROSS JOIN outbox.broadcast_state() k
                 WHERE d.tag IS NOT NULL) x
         GROUP BY x.tag, x.bot) b
 CROSS JOIN (SELECT outbox.clock() AS now OFFSET 0) t
 CROSS JOIN LATERAL (
        SELECT r.ended_per_s, nullif(b.waiting, 0) / r.ended_per_s AS eta_s
          FROM (SELECT nullif(greatest(CASE
                           WHEN b.counted_lately > 0
                           THEN (b.counted_lately + b.lately) / greatest(extract(epoch FROM t.now - b.before_at), 1)
                           -- What did not move before is reckoned from the first that did.
                           ELSE (b.lately - 1) / greatest(extract(epoch FROM t.now - b.first_lately_at), 1)
                       END::float8, 0), 0) AS ended_per_s) r) p;
COMMENT ON VIEW outbox.broadcasts IS
    'One row per tag and bot: accepted messages and what became of them; progress: the share (0 to 1) that waits no longer. ended_per_s: how many left the queue, a second, in the last 15-45 s; eta_s, eta_at: when none waits any more at that pace, NULL: nothing waits or nothing moves. cancel_requested_at: when outbox.cancel was last asked for the tag; NULL soon after it is done, cancelled says how many. Counted over all messages of a tag until nothing of it has ended for 30 days. Filter by tag: it costs only that tag.';
