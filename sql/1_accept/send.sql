-- Promise: INSERT INTO outbox.message as a function: the id of the message, for a repeated idempotency key that of the first
-- one. NULL leaves a column to its default. In the caller's transaction, like any insert.
-- Locks: a repeated key waits for the transaction that holds the same key; nothing else (I4).
-- Cost: one insert; for a repeated key a probe more.
CREATE OR REPLACE FUNCTION outbox.send(
    p_chat_id text, p_payload jsonb, p_method text DEFAULT NULL, p_bot text DEFAULT NULL, p_priority int DEFAULT NULL,
    p_next_attempt_at timestamptz DEFAULT NULL, p_expires_at timestamptz DEFAULT NULL, p_max_attempts int DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_idempotency_key text DEFAULT NULL, p_collapse_key text DEFAULT NULL,
    p_on_uncertain text DEFAULT NULL, p_tag text DEFAULT NULL, p_target_id bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_id bigint;
BEGIN
    LOOP
        INSERT INTO outbox.message (
            chat_id, payload, method, bot, priority, next_attempt_at, expires_at, max_attempts, correlation_id,
            idempotency_key, collapse_key, on_uncertain, tag, target_id)
        VALUES (
            p_chat_id, p_payload, coalesce(p_method, 'sendMessage'), coalesce(p_bot, 'default'),
            -- What no smallint holds is refused in the trigger's words.
            CASE WHEN p_priority IS NULL THEN 2 ELSE least(greatest(p_priority, -1), 99) END,
            coalesce(p_next_attempt_at, now()), p_expires_at, p_max_attempts,
            coalesce(p_correlation_id, gen_random_uuid()::text), p_idempotency_key, p_collapse_key,
            coalesce(p_on_uncertain, 'retry'), p_tag, p_target_id)
        RETURNING id INTO v_id;
        EXIT WHEN v_id IS NOT NULL;
        -- A later statement, which sees the transaction that the insert waited for.
        SELECT i.message_id INTO v_id FROM outbox.idempotency i
         WHERE i.key = p_idempotency_key AND i.bot = lower(coalesce(p_bot, 'default') COLLATE "C") COLLATE "default";
        -- Neither: the key ran out and was dropped between the two.
        EXIT WHEN v_id IS NOT NULL;
    END LOOP;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION outbox.send(text, jsonb, text, text, int, timestamptz, timestamptz, int, text, text, text, text, text, bigint) IS
    'Inserts a message and returns its id; with an idempotency key that was used already, the first one''s id. NULL: the column''s default. In your own transaction: sent after it commits.';

-- Promise: the same for a chat given by its number.  Locks and Cost: see above.
CREATE OR REPLACE FUNCTION outbox.send(
    p_chat_id bigint, p_payload jsonb, p_method text DEFAULT NULL, p_bot text DEFAULT NULL, p_priority int DEFAULT NULL,
    p_next_attempt_at timestamptz DEFAULT NULL, p_expires_at timestamptz DEFAULT NULL, p_max_attempts int DEFAULT NULL,
    p_correlation_id text DEFAULT NULL, p_idempotency_key text DEFAULT NULL, p_collapse_key text DEFAULT NULL,
    p_on_uncertain text DEFAULT NULL, p_tag text DEFAULT NULL, p_target_id bigint DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT outbox.send(p_chat_id::text, p_payload, p_method, p_bot, p_priority, p_next_attempt_at, p_expires_at,
                       p_max_attempts, p_correlation_id, p_idempotency_key, p_collapse_key, p_on_uncertain, p_tag,
                       p_target_id)
$$;
COMMENT ON FUNCTION outbox.send(bigint, jsonb, text, text, int, timestamptz, timestamptz, int, text, text, text, text, text, bigint) IS
    'The same for a chat given as a number.';
