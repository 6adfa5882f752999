-- Promise: the limits that a bot's replies keep, for whoever sends them while the database is away. No row: no such bot.
-- Locks: nothing.  Cost: one row of bot.
CREATE OR REPLACE FUNCTION outbox.reply_limits(
    p_bot text, OUT rate int, OUT rate_window_s float8, OUT chat_interval_s float8, OUT group_limit int,
    OUT group_window_s float8) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.rate, o.rate_window_s, o.chat_interval_s, o.group_limit, o.group_window_s FROM outbox.bot o WHERE o.bot = p_bot
$$;
COMMENT ON FUNCTION outbox.reply_limits IS 'Limits of a bot for its replies; NULL: unlimited. For producers.';
