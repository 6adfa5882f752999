-- Promise: a bot exists with this policy; what is left NULL stays as it is (or gets the default of a new bot).
-- p_rate 0 and p_group_limit 0: no such limit.
-- Locks: the bot's row, and its bucket when the rate changes.  Cost: one row, audited.
CREATE OR REPLACE FUNCTION outbox.set_bot(
    p_bot text, p_rate int DEFAULT NULL, p_rate_window_s float8 DEFAULT NULL, p_chat_interval_s float8 DEFAULT NULL,
    p_group_limit int DEFAULT NULL, p_group_window_s float8 DEFAULT NULL, p_backoff_initial_s float8 DEFAULT NULL,
    p_backoff_factor float8 DEFAULT NULL, p_backoff_max_s float8 DEFAULT NULL, p_max_attempts int DEFAULT NULL,
    p_keep_payload boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_bot IS NULL OR p_bot !~ '^[a-z0-9][a-z0-9_-]{0,62}$' THEN
        RAISE EXCEPTION 'bot "%" cannot be a name', coalesce(left(p_bot, 80), 'NULL') USING ERRCODE = 'check_violation',
            HINT = 'Use up to 63 lower-case letters, digits, _ or -, as in OUTBOX_TOKEN_<NAME>.';
    END IF;
    INSERT INTO outbox.bot (bot) VALUES (p_bot) ON CONFLICT DO NOTHING;
    UPDATE outbox.bot o
       SET rate = CASE WHEN p_rate = 0 THEN NULL ELSE coalesce(p_rate, o.rate) END,
           rate_window_s = coalesce(p_rate_window_s, o.rate_window_s),
           chat_interval_s = coalesce(p_chat_interval_s, o.chat_interval_s),
           group_limit = CASE WHEN p_group_limit = 0 THEN NULL ELSE coalesce(p_group_limit, o.group_limit) END,
           group_window_s = coalesce(p_group_window_s, o.group_window_s),
           backoff_initial_s = coalesce(p_backoff_initial_s, o.backoff_initial_s),
           backoff_factor = coalesce(p_backoff_factor, o.backoff_factor),
           backoff_max_s = coalesce(p_backoff_max_s, o.backoff_max_s),
           max_attempts = coalesce(p_max_attempts, o.max_attempts),
           keep_payload = coalesce(p_keep_payload, o.keep_payload)
     WHERE o.bot = p_bot;
    INSERT INTO outbox.audit (what, filter, count)
    VALUES ('set_bot', jsonb_strip_nulls(jsonb_build_object(
               'bot', p_bot, 'rate', p_rate, 'rate_window_s', p_rate_window_s, 'chat_interval_s', p_chat_interval_s,
               'group_limit', p_group_limit, 'group_window_s', p_group_window_s,
               'backoff_initial_s', p_backoff_initial_s, 'backoff_factor', p_backoff_factor,
               'backoff_max_s', p_backoff_max_s, 'max_attempts', p_max_attempts, 'keep_payload', p_keep_payload)), 1);
END $$;
COMMENT ON FUNCTION outbox.set_bot IS
    'Adds a bot or changes its policy; NULL leaves a value as it is, 0 lifts rate or group_limit. Audited.';
