-- Promise: these dead letters are messages again, under their old id, in their old place, with their attempts, and with
-- as many more as their own max_attempts, at most the bot's: one that is revived again and again must not get twice as
-- many each time. They no longer expire, and their chats are no longer suppressed. Returns how many; one that somebody
-- else holds is left.
-- Locks: the dead letters, SKIP LOCKED; the caller holds their chats, or a late "sent" could find neither dead letter
-- nor message.  Cost: one delete and one insert each, one update more for one with a key.
CREATE OR REPLACE FUNCTION outbox.revive_dead_letters(p_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    WITH revived AS (
        DELETE FROM outbox.dead_letter d WHERE d.id = ANY (ARRAY(
            SELECT k.id FROM outbox.dead_letter k WHERE k.id = ANY (p_ids) FOR UPDATE SKIP LOCKED))
        RETURNING d.*),
    put AS (
        -- Without the idempotency key: its trigger would see a repetition and swallow the message. Without the target:
        -- its trigger would refuse one that has moved meanwhile, and claim judges that better.
        INSERT INTO outbox.message (
            id, bot, chat_id, method, payload, priority, next_attempt_at, max_attempts, correlation_id, collapse_key,
            on_uncertain, tag, created_at, attempts, calls, last_error)
        OVERRIDING SYSTEM VALUE
        SELECT v.id, v.bot, v.chat_id, v.method, v.payload, v.priority, v.scheduled_for,
               v.attempts + least(v.max_attempts, (SELECT o.max_attempts FROM outbox.bot o WHERE o.bot = v.bot)),
               v.correlation_id, v.collapse_key, v.on_uncertain, v.tag, v.created_at, v.attempts, v.calls, v.error_text
          FROM revived v)
    SELECT count(*) AS moved, array_agg(v.chat_id::text) AS chat_ids, array_agg(v.bot) AS bots,
           array_agg(v.id) FILTER (WHERE w.has_more) AS richer,
           array_agg(v.idempotency_key) FILTER (WHERE w.has_more) AS keys,
           array_agg(v.target_id) FILTER (WHERE w.has_more) AS targets
      INTO r
      FROM revived v
     CROSS JOIN LATERAL (SELECT num_nonnulls(v.idempotency_key, v.target_id) > 0 AS has_more) w;
    UPDATE outbox.message m SET idempotency_key = k.key, target_id = k.target_id
      FROM unnest(r.richer, r.keys, r.targets) k (id, key, target_id) WHERE m.id = k.id;
    PERFORM outbox.clear_suppression(r.chat_ids, r.bots);
    RETURN r.moved;
END $$;
COMMENT ON FUNCTION outbox.revive_dead_letters IS 'Puts dead letters back into their lanes. Part of retry.';
