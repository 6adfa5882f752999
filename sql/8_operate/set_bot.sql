-- Promise: a bot exists with this policy; what is left NULL stays as it is (or gets the default of a new bot). p_rate 0
-- and p_group_limit 0: no such limit. A value that makes no sense is named in one line, and nothing changes.
-- p_allow_paid_broadcast: Telegram refused allow_paid_broadcast, so it is left out of payloads; true: try it again,
-- false: leave it out from now on.
-- Locks: the bot's row, and its bucket when the rate changes.  Cost: one row, audited.
DROP FUNCTION IF EXISTS outbox.set_bot(  -- before 0004; beside the new one no call would be unique
    text, int, float8, float8, int, float8, float8, float8, float8, int, boolean);
CREATE OR REPLACE FUNCTION outbox.set_bot(
    p_bot text, p_rate int DEFAULT NULL, p_rate_window_s float8 DEFAULT NULL, p_chat_interval_s float8 DEFAULT NULL,
    p_group_limit int DEFAULT NULL, p_group_window_s float8 DEFAULT NULL, p_backoff_initial_s float8 DEFAULT NULL,
    p_backoff_factor float8 DEFAULT NULL, p_backoff_max_s float8 DEFAULT NULL, p_max_attempts int DEFAULT NULL,
    p_keep_payload boolean DEFAULT NULL, p_breaker_answers int DEFAULT NULL,
    p_breaker_failure_share float8 DEFAULT NULL, p_breaker_open_s float8 DEFAULT NULL,
    p_breaker_open_max_s float8 DEFAULT NULL, p_breaker_probes int DEFAULT NULL,
    p_idempotency_s float8 DEFAULT NULL, p_allow_paid_broadcast boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    -- Days and years, not infinity: every number becomes an interval somewhere.
    v_day_s CONSTANT float8 := 86400;
    v_wrong record;
BEGIN
    IF p_bot IS NULL OR p_bot !~ '^[a-z0-9][a-z0-9_-]{0,62}$' THEN
        RAISE EXCEPTION 'bot "%" cannot be a name', coalesce(left(p_bot, 80), 'NULL') USING ERRCODE = 'check_violation',
            HINT = 'Use up to 63 lower-case letters, digits, _ or -, as in OUTBOX_TOKEN_<NAME>.';
    END IF;
    SELECT v.* INTO v_wrong
      FROM (VALUES ('p_rate', p_rate::float8, 0::float8, 1e6::float8),
                   ('p_rate_window_s', p_rate_window_s, 0.001, v_day_s),
                   ('p_chat_interval_s', p_chat_interval_s, 0, v_day_s), ('p_group_limit', p_group_limit, 0, 1e6),
                   ('p_group_window_s', p_group_window_s, 0.001, v_day_s),
                   ('p_backoff_initial_s', p_backoff_initial_s, 0.001, v_day_s),
                   ('p_backoff_factor', p_backoff_factor, 1, 1000),
                   ('p_backoff_max_s', p_backoff_max_s, 0.001, 30 * v_day_s),
                   ('p_max_attempts', p_max_attempts, 1, 1e6), ('p_breaker_answers', p_breaker_answers, 1, 1e6),
                   ('p_breaker_failure_share', p_breaker_failure_share, 0.001, 1),
                   ('p_breaker_open_s', p_breaker_open_s, 0.001, v_day_s),
                   ('p_breaker_open_max_s', p_breaker_open_max_s, 0.001, v_day_s),
                   ('p_breaker_probes', p_breaker_probes, 1, 1000),
                   ('p_idempotency_s', p_idempotency_s, 1, 3650 * v_day_s)) v (name, value, least, most)
     WHERE v.value NOT BETWEEN v.least AND v.most LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% is %', v_wrong.name, v_wrong.value USING ERRCODE = 'check_violation',
            HINT = format('Use %s to %s%s.', v_wrong.least::numeric, v_wrong.most::numeric,
                          CASE WHEN v_wrong.name IN ('p_rate', 'p_group_limit') THEN '; 0 is no limit' ELSE '' END);
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
           keep_payload = coalesce(p_keep_payload, o.keep_payload),
           breaker_answers = coalesce(p_breaker_answers, o.breaker_answers),
           breaker_failure_share = coalesce(p_breaker_failure_share, o.breaker_failure_share),
           breaker_open_s = coalesce(p_breaker_open_s, o.breaker_open_s),
           breaker_open_max_s = coalesce(p_breaker_open_max_s, o.breaker_open_max_s),
           breaker_probes = coalesce(p_breaker_probes, o.breaker_probes),
           idempotency_s = coalesce(p_idempotency_s, o.idempotency_s),
           paid_broadcast_refused_at = CASE WHEN p_allow_paid_broadcast THEN NULL
                                            WHEN NOT p_allow_paid_broadcast
                                            THEN coalesce(o.paid_broadcast_refused_at, outbox.clock())
                                            ELSE o.paid_broadcast_refused_at END
     WHERE o.bot = p_bot;
    PERFORM outbox.note_action('set_bot', jsonb_strip_nulls(jsonb_build_object(
        'bot', p_bot, 'rate', p_rate, 'rate_window_s', p_rate_window_s, 'chat_interval_s', p_chat_interval_s,
        'group_limit', p_group_limit, 'group_window_s', p_group_window_s, 'backoff_initial_s', p_backoff_initial_s,
        'backoff_factor', p_backoff_factor, 'backoff_max_s', p_backoff_max_s, 'max_attempts', p_max_attempts,
        'keep_payload', p_keep_payload, 'breaker_answers', p_breaker_answers,
        'breaker_failure_share', p_breaker_failure_share, 'breaker_open_s', p_breaker_open_s,
        'breaker_open_max_s', p_breaker_open_max_s, 'breaker_probes', p_breaker_probes,
        'idempotency_s', p_idempotency_s, 'allow_paid_broadcast', p_allow_paid_broadcast)), 1);
END $$;
COMMENT ON FUNCTION outbox.set_bot IS
    'Adds a bot or changes its policy; NULL leaves a value as it is, 0 lifts rate or group_limit. Audited.';
