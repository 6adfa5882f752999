-- Promise: per bot, what its limits leave just now.  Cost: one row of bot and bucket each.
CREATE OR REPLACE VIEW outbox.limits AS
SELECT o.bot, o.rate, o.rate_window_s, o.chat_interval_s, o.group_limit, o.group_window_s,
       CASE WHEN o.rate <= 100 THEN b.active_tokens END AS tokens,
       CASE WHEN o.rate <= 100 THEN (SELECT count(*)::int FROM unnest(b.free_at) f WHERE f <= outbox.clock()) END AS tokens_free,
       s.next_at AS next_slot_at, b.last_slot, b.last_slot_at,
       outbox.least_round_trip_s(b) AS least_round_trip_s,
       b.paused_until, b.paused_reason, b.stopped, b.unauthorised, b.breaker, b.breaker_until
  FROM outbox.bot o
  JOIN outbox.bucket b ON b.bot = o.bot
 CROSS JOIN LATERAL (SELECT coalesce(x.slot_at[1], x.next_at) AS next_at
                       FROM outbox.offer_slots(b, o.rate, o.rate_window_s, outbox.clock(), 1) x) s;
COMMENT ON VIEW outbox.limits IS
    'Per bot: its limits, tokens free now, when the next slot comes, pauses and breaker. rate NULL: unlimited.';
