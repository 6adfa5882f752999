-- Promise: where this identity is not the one that the database remembers: environment, database, or the telegram_id of
-- one of these bots; no row: it is the same, or nothing is remembered yet.
-- Locks: nothing.  Cost: one row of bot per bot asked for.
-- p_telegram_ids: {bot: Telegram's id of the bot behind the bot token that the asker has}.
CREATE OR REPLACE FUNCTION outbox.identity_differs(p_environment text, p_telegram_ids jsonb)
RETURNS TABLE (what text, bot text, remembered text, present text)
LANGUAGE sql STABLE AS $$
    SELECT 'environment', NULL, i.environment, p_environment
      FROM outbox.identity i WHERE i.environment <> p_environment
     UNION ALL
    SELECT 'database', NULL, i.system_identifier, s.present
      FROM outbox.identity i CROSS JOIN outbox.database_key() s (present) WHERE i.system_identifier <> s.present
     UNION ALL
    SELECT 'telegram_id', o.bot, o.telegram_id::text, t.value
      FROM jsonb_each_text(p_telegram_ids) t JOIN outbox.bot o ON o.bot = t.key WHERE o.telegram_id <> t.value::bigint
$$;
COMMENT ON FUNCTION outbox.identity_differs IS
    'Where environment, database or bots are not those that the database remembers; no row: nowhere. Changes nothing.';
