-- Promise: the owners' lanes are out of flight and know when they may send next: one interval after the response, the
-- group's window, a 429's retry_after, the backoff of a failed head (one per priority, so that only better priorities
-- pass it, I2). Every deadline only moves later (I9). A late "sent" moves them too: it counted at Telegram.
-- Locks: nothing, the caller holds the chats.  Cost: one HOT update each.  Returns how many lanes their owners released.
CREATE OR REPLACE FUNCTION outbox.release_lanes(p_results outbox.result[], p_now timestamptz) RETURNS int
LANGUAGE sql VOLATILE AS $$
    WITH released AS (
        UPDATE outbox.chat c
           SET in_flight = CASE WHEN NOT r.owned THEN c.in_flight END,
               worker = CASE WHEN NOT r.owned THEN c.worker END,
               attempt = CASE WHEN NOT r.owned THEN c.attempt END,
               claimed_at = CASE WHEN NOT r.owned THEN c.claimed_at END,
               last_sent_at = CASE WHEN r.outcome = 'sent' THEN greatest(c.last_sent_at, r.answered_at) ELSE c.last_sent_at END,
               next_send_at = greatest(
                   c.next_send_at,
                   CASE WHEN r.outcome <> 'unsent' THEN r.answered_at + make_interval(secs => o.chat_interval_s) END,
                   CASE WHEN r.outcome = 'wait' THEN r.answered_at + make_interval(secs => r.retry_after_s) END,
                   CASE WHEN cardinality(g.sent_at) >= o.group_limit
                        THEN g.sent_at[cardinality(g.sent_at) - o.group_limit + 1] + make_interval(secs => o.group_window_s) END),
               group_sent_at = g.sent_at,
               backoff_until[coalesce(r.priority, 0) + 1] = CASE
                   WHEN r.fate = 'wait' AND (r.outcome <> 'wait' OR r.retry_after_s IS NULL)
                   THEN greatest(c.backoff_until[coalesce(r.priority, 0) + 1], p_now + outbox.backoff(r.bot, greatest(r.spent, 1)))
                   ELSE c.backoff_until[coalesce(r.priority, 0) + 1] END
          FROM unnest(p_results) r
         CROSS JOIN LATERAL (SELECT o.* FROM outbox.bot o WHERE o.bot = r.bot LIMIT 1) o
         CROSS JOIN LATERAL (SELECT k.ctid, k.group_sent_at FROM outbox.chat k
                              WHERE k.chat_id = r.chat_id AND k.bot = r.bot LIMIT 1) k
         -- Groups and channels: the last group_limit times that something may have arrived.
         CROSS JOIN LATERAL (SELECT CASE
                WHEN r.chat_id !~ '^[-@]' OR o.group_limit IS NULL THEN NULL
                WHEN r.outcome NOT IN ('sent', 'uncertain') THEN k.group_sent_at
                ELSE (k.group_sent_at || r.answered_at)[
                    greatest(1, coalesce(cardinality(k.group_sent_at), 0) + 2 - o.group_limit):] END AS sent_at) g
         WHERE c.ctid = k.ctid AND (r.owned OR r.outcome = 'sent')
        RETURNING r.owned)
    SELECT count(*) FILTER (WHERE r.owned)::int FROM released r
$$;
COMMENT ON FUNCTION outbox.release_lanes IS 'Takes lanes out of flight and sets when they may send next. Part of complete.';
