-- Promise: what answers say about more than their message: a chat that has moved takes its waiting messages along; a chat
-- that refused gives evidence, and with enough of it is suppressed for 7 days; a "sent" clears that; a bot that may not use
-- paid broadcast is marked, so that claim leaves the flag out.
-- Locks: nothing more, the caller holds the chats; for paid broadcast the bot's row, once.
-- Cost: nothing unless an answer reaches further; one update per chat and bot it reaches.
CREATE OR REPLACE FUNCTION outbox.reach_further(p_results outbox.result[], p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT x.bot, x.chat_id, max(x.migrate_to) AS migrate_to FROM unnest(p_results) x
              WHERE x.migrate_to IS NOT NULL AND x.owned GROUP BY x.bot, x.chat_id LOOP
        UPDATE outbox.chat c SET moved_to = r.migrate_to WHERE c.chat_id = r.chat_id AND c.bot = r.bot;
        -- All at once but for absurd numbers, which would meet statement_timeout: claim moves the rest.
        PERFORM outbox.move_pending(r.bot, r.chat_id, r.migrate_to, p_now, 50000);
    END LOOP;

    FOR r IN SELECT x.bot, x.chat_id, bool_or(x.suppresses) AS suppresses, max(x.error_class) AS error_class
               FROM unnest(p_results) x WHERE x.suppresses IS NOT NULL GROUP BY x.bot, x.chat_id LOOP
        UPDATE outbox.chat c
           SET suppression_evidence = c.suppression_evidence + 1,
               suppressed_at = CASE WHEN r.suppresses THEN p_now ELSE c.suppressed_at END,
               suppressed_until = CASE WHEN r.suppresses THEN p_now + interval '7 days' ELSE c.suppressed_until END,
               suppressed_reason = CASE WHEN r.suppresses THEN r.error_class ELSE c.suppressed_reason END
         WHERE c.chat_id = r.chat_id AND c.bot = r.bot;
    END LOOP;

    IF EXISTS (SELECT FROM unnest(p_results) x WHERE x.error_class = 'paid_broadcast_refused') THEN
        UPDATE outbox.bot o SET paid_broadcast_refused_at = p_now
         WHERE o.paid_broadcast_refused_at IS NULL
           AND o.bot = ANY (ARRAY(SELECT DISTINCT x.bot FROM unnest(p_results) x
                                   WHERE x.error_class = 'paid_broadcast_refused'));
    END IF;
END $$;
COMMENT ON FUNCTION outbox.reach_further IS
    'Applies what answers say about chats and bots: moves, suppression, paid broadcast. Part of complete.';
