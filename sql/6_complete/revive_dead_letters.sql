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
        -- Without the idempotency key: its trigger would see a repetition and swallow the message.
        INSERT INTO outbox.message (
            id, bot, chat_id, method, payload, priority, next_attempt_at, max_attempts, correlation_id, collapse_key,
            on_uncertain, tag, created_at, attempts, calls, last_error, target_id)
        OVERRIDING SYSTEM VALUE
        SELECT v.id, v.bot, v.chat_id, v.method, v.payload, v.priority, v.scheduled_for,
               v.attempts + least(v.max_attempts, (SELECT o.max_attempts FROM outbox.bot o WHERE o.bot = v.bot)),
               v.correlation_id, v.collapse_key, v.on_uncertain, v.tag, v.created_at, v.attempts, v.calls, v.error_text,
               v.target_id
          FROM revived v)
    SELECT count(*) AS moved, array_agg(v.chat_id::text) AS chat_ids, array_agg(v.bot) AS bots,
           array_agg(v.id) FILTER (WHERE v.idempotency_key IS NOT NULL) AS keyed,
           array_agg(v.idempotency_key) FILTER (WHERE v.idempotency_key IS NOT NULL) AS keys
      INTO r FROM revived v;
    UPDATE outbox.message m SET idempotency_key = k.key FROM unnest(r.keyed, r.keys) k (id, key) WHERE m.id = k.id;
    PERFORM outbox.clear_suppression(r.chat_ids, r.bots);
    RETURN r.moved;
END $$;
COMMENT ON FUNCTION outbox.revive_dead_letters IS 'Puts dead letters back into their lanes. Part of retry.';
