-- Promise: the owners' lanes are out of flight and know when they may send next: one interval after the response, the
-- group's window, a 429's retry_after, the backoff of a failed head (one per priority, so that only better priorities
-- pass it, I2). Every deadline only moves later (I9). A late "sent" moves them too: it counted at Telegram.
-- Locks: nothing, the caller holds the chats.  Cost: one HOT update each.  Returns how many lanes their owners released.
CREATE OR REPLACE FUNCTION outbox.release_lanes(p_results outbox.result[], p_now timestamptz) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_released int;
BEGIN
    WITH lane AS (
        -- One row per chat: an UPDATE applies only one of two that match. Free methods (cost 0) move no deadline.
        SELECT r.bot, r.chat_id, bool_or(r.owned) AS owned,
               max(r.answered_at) FILTER (WHERE r.outcome NOT IN ('unsent', 'discard') AND r.cost > 0) AS answered_at,
               max(r.answered_at) FILTER (WHERE r.outcome = 'sent' AND r.cost > 0) AS sent_at,
               max(r.answered_at + make_interval(secs => r.retry_after_s))
                   -- A flooded album is uncertain, and waits like any other flood.
                   FILTER (WHERE r.outcome IN ('wait', 'uncertain') AND (r.cost > 0 OR r.fate = 'wait')) AS wait_until,
               max(r.answered_at) FILTER (WHERE r.outcome IN ('sent', 'uncertain') AND r.cost > 0) AS arrived_at,
               sum(r.cost) FILTER (WHERE r.outcome IN ('sent', 'uncertain'))::int AS arrived,
               max(r.priority) FILTER (WHERE b.applies) AS backoff_of,
               max(p_now + greatest(make_interval(secs => r.wait_s), outbox.backoff(
                       r.bot, CASE WHEN r.outcome = 'wait' OR r.error_class = 'bot_unauthorized'
                                   THEN r.attempt ELSE greatest(r.spent, 1) END)))
                   FILTER (WHERE b.applies) AS backoff_until
          FROM unnest(p_results) r
         CROSS JOIN LATERAL (SELECT r.owned AND r.fate = 'wait' AND (r.outcome <> 'wait' OR r.retry_after_s IS NULL)
                                 AS applies) b
         WHERE r.owned OR r.outcome = 'sent' AND NOT r.repeated
         GROUP BY r.bot, r.chat_id),
    released AS (
        UPDATE outbox.chat c
           SET in_flight = CASE WHEN NOT l.owned THEN c.in_flight END,
               worker = CASE WHEN NOT l.owned THEN c.worker END,
               attempt = CASE WHEN NOT l.owned THEN c.attempt END,
               claimed_at = CASE WHEN NOT l.owned THEN c.claimed_at END,
               last_sent_at = greatest(c.last_sent_at, l.sent_at),
               next_send_at = greatest(
                   c.next_send_at, l.wait_until, l.answered_at + make_interval(secs => o.chat_interval_s),
                   CASE WHEN cardinality(g.sent_at) >= o.group_limit
                        THEN g.sent_at[cardinality(g.sent_at) - o.group_limit + 1]
                             + make_interval(secs => o.group_window_s) END),
               group_sent_at = g.sent_at,
               -- It takes messages: whatever spoke against it is over.
               suppression_evidence = CASE WHEN l.sent_at IS NULL THEN c.suppression_evidence ELSE 0 END,
               suppressed_at = CASE WHEN l.sent_at IS NULL THEN c.suppressed_at END,
               suppressed_until = CASE WHEN l.sent_at IS NULL THEN c.suppressed_until END,
               suppressed_reason = CASE WHEN l.sent_at IS NULL THEN c.suppressed_reason END,
               backoff_until[coalesce(l.backoff_of, 0) + 1] =
                   greatest(c.backoff_until[coalesce(l.backoff_of, 0) + 1], l.backoff_until)
          FROM lane l
         CROSS JOIN LATERAL (SELECT o.* FROM outbox.bot o WHERE o.bot = l.bot LIMIT 1) o
         CROSS JOIN LATERAL (SELECT k.ctid, k.group_sent_at FROM outbox.chat k
                              WHERE k.chat_id = l.chat_id AND k.bot = l.bot LIMIT 1) k
         -- Groups and channels: the last group_limit times that something may have arrived.
         CROSS JOIN LATERAL (SELECT CASE WHEN l.chat_id ~ '^[-@]' AND o.group_limit IS NOT NULL
                                         THEN t.at[greatest(1, cardinality(t.at) + 1 - o.group_limit):] END AS sent_at
                               FROM (SELECT k.group_sent_at || CASE WHEN l.arrived > 0 THEN
                                                array_fill(l.arrived_at, ARRAY[l.arrived]) END AS at) t) g
         WHERE c.ctid = k.ctid
        RETURNING l.owned)
    SELECT count(*) FILTER (WHERE r.owned) INTO v_released FROM released r;
    RETURN v_released;
END $$;
COMMENT ON FUNCTION outbox.release_lanes IS 'Takes lanes out of flight and sets when they may send next. Part of complete.';
