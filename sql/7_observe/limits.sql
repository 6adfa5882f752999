-- Promise: per bot, what its limits leave just now.  Cost: one row of bot and bucket each.
CREATE OR REPLACE VIEW outbox.limits AS
SELECT o.bot, o.rate, o.rate_window_s, o.chat_interval_s, o.group_limit, o.group_window_s,
       CASE WHEN o.rate <= 100 THEN b.active_tokens END AS tokens,
       CASE WHEN o.rate <= 100 THEN (SELECT count(*)::int FROM unnest(b.free_at) f WHERE f <= outbox.clock()) END AS tokens_free,
       s.next_at AS next_slot_at, b.last_slot, b.last_slot_at,
       outbox.least_round_trip_s(b) AS least_round_trip_s,
       b.paused_until, b.paused_reason, b.stopped, b.unauthorised, b.breaker, b.breaker_until,
       CASE WHEN o.rate IS NOT NULL THEN coalesce(nullif(b.active_tokens, 0), o.rate) END AS tokens_active, b.ceiling,
       b.breaker_reason, b.breaker_opened, o.breaker_probes, b.probes, b.probes_passed, b.lowered_at, b.raised_at,
       o.paid_broadcast_refused_at
  FROM outbox.bot o
  JOIN outbox.bucket b ON b.bot = o.bot
 CROSS JOIN LATERAL (SELECT coalesce(x.slot_at[1], x.next_at) AS next_at
                       FROM outbox.offer_slots(b, o.rate, o.rate_window_s, outbox.clock(), 1) x) s;
COMMENT ON VIEW outbox.limits IS
    'Per bot: its limits, tokens free now, when the next slot comes, pauses and breaker. rate NULL: unlimited. tokens_active: how many of the limit are in use, fewer after floods (lowered_at, raised_at); ceiling: the number that was flooded. breaker_opened: how often in a row; probes, of breaker_probes at a time: calls out to see whether it may close, probes_passed: that went well.';
