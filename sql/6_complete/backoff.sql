-- Promise: the wait before attempt p_attempt + 1: min(max, initial x factor^(attempt - 1)) in full jitter.
-- Locks: nothing.  Cost: one row of bot.
CREATE OR REPLACE FUNCTION outbox.backoff(p_bot text, p_attempt int) RETURNS interval
LANGUAGE sql VOLATILE STRICT AS $$
    -- Full jitter: messages that failed together must not come back together (AWS Architecture Blog, 2015,
    -- "Exponential Backoff And Jitter"). The exponent is bounded so that the power cannot overflow.
    SELECT make_interval(secs => random() * least(
               backoff_max_s, backoff_initial_s * backoff_factor ^ greatest(least(p_attempt - 1, 60), 0)))
      FROM outbox.bot WHERE bot = p_bot
$$;
COMMENT ON FUNCTION outbox.backoff IS 'Wait before the next attempt, in full jitter.';
