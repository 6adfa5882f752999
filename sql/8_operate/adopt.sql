-- Promise: the database belongs to this environment, this server and these bots from now on: workers of that identity
-- may deliver from it. With p_hold everything that waits becomes a dead letter first (uncertain, class adopted): the
-- database that this one was copied from may have sent it. Without, it is sent. What is inserted later goes in either
-- case.
-- Refused while a worker lives.
-- In batches: adopted is false while some are left to hold; call again with last_id and until_id as they came, in a
-- transaction of its own each time. What was held stays held if that ends half way.
-- Locks, in order: identity, workers, chats (by chat_id, bot), messages.  Cost: one walk over chat; one delete and one
-- insert per message held. Audited, a row per batch.
-- p_telegram_ids: {bot: Telegram's id}; bots left out keep the id that is remembered.
CREATE OR REPLACE FUNCTION outbox.adopt(
    p_environment text, p_telegram_ids jsonb, p_hold boolean, p_last_id bigint DEFAULT 0, p_until_id bigint DEFAULT NULL,
    p_most int DEFAULT 5000, OUT held int, OUT last_id bigint, OUT until_id bigint, OUT adopted boolean)
LANGUAGE plpgsql
-- Plans must not depend on statistics (I10), and a database that was just restored has none.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off AS $$
DECLARE
    v_worker text;
    v_ids bigint[];
    v_endings outbox.ending[];
BEGIN
    IF p_hold IS NULL THEN
        RAISE EXCEPTION 'adopt needs to know what becomes of the messages that wait' USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'p_hold: true keeps them as dead letters for a person, false sends them.';
    END IF;
    IF p_environment IS NULL OR p_environment !~ '^[a-z0-9][a-z0-9_-]{0,62}$' THEN
        RAISE EXCEPTION 'environment "%" is not a label', coalesce(left(p_environment, 80), 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Use OUTBOX_ENVIRONMENT of the workers: 1-63 of a-z 0-9 _ -.';
    END IF;
    -- One adoption at a time.
    PERFORM FROM outbox.identity FOR UPDATE;
    -- The copy's dead: what they had in flight waits again, its outcome unknown, and is held with the rest.
    PERFORM outbox.reap();
    SELECT w.name INTO v_worker FROM outbox.worker w WHERE w.ended_at IS NULL ORDER BY w.lease_until DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'worker % is alive, and a database is adopted while none works', v_worker USING
            ERRCODE = 'object_in_use',
            HINT = 'Stop all workers; one that died, or that a copy brought along, counts as alive for 20 seconds.';
    END IF;

    held := 0;
    last_id := p_last_id;
    adopted := true;
    IF p_hold THEN
        -- What is committed now. A transaction that inserts meanwhile belongs to an application of this copy.
        until_id := coalesce(p_until_id, (SELECT max(m.id) FROM outbox.message m), 0);
        v_ids := ARRAY(SELECT m.id FROM outbox.message m WHERE m.id > p_last_id AND m.id <= until_id
                        ORDER BY m.id LIMIT p_most);
        PERFORM FROM (SELECT DISTINCT m.chat_id, m.bot FROM outbox.message m WHERE m.id = ANY (v_ids) ORDER BY 1, 2) u
          CROSS JOIN LATERAL (SELECT FROM outbox.chat c WHERE c.chat_id = u.chat_id AND c.bot = u.bot FOR UPDATE) c;
        -- Look after you lock (I3): a later statement.
        v_endings := ARRAY(
            SELECT jsonb_populate_record(NULL::outbox.ending, jsonb_build_object(
                       'message_id', m.id, 'attempts', m.attempts, 'calls', m.calls)
                   -- A person need not decide about what nobody wants any more.
                   || CASE WHEN outbox.is_cancelled(m) THEN jsonb_build_object(
                          'status', 'cancelled', 'error_class', 'cancelled', 'error_text', 'a cancel was asked for')
                      ELSE jsonb_build_object(
                          'status', 'uncertain', 'error_class', 'adopted',
                          'error_text', 'it waited when this database was adopted: the original may have sent it') END)
              FROM outbox.message m WHERE m.id = ANY (v_ids));
        PERFORM outbox.finish_messages(v_endings);
        held := cardinality(v_endings);
        adopted := cardinality(v_ids) < p_most;
        last_id := coalesce(v_ids[cardinality(v_ids)], last_id);
        PERFORM outbox.note_action('adopt', jsonb_build_object(
                    'environment', p_environment, 'hold', true, 'last_id', last_id), held);
    END IF;
    IF NOT adopted THEN
        RETURN;
    END IF;

    INSERT INTO outbox.identity AS i (environment, system_identifier, adopted_at)
    VALUES (p_environment, outbox.database_key(), outbox.clock())
    ON CONFLICT (only_row) DO UPDATE
       SET environment = excluded.environment, system_identifier = excluded.system_identifier,
           adopted_at = excluded.adopted_at;
    UPDATE outbox.bot o SET telegram_id = (p_telegram_ids ->> o.bot)::bigint
     WHERE p_telegram_ids ? o.bot AND o.telegram_id IS DISTINCT FROM (p_telegram_ids ->> o.bot)::bigint;
    PERFORM outbox.note_action('adopt', jsonb_build_object(
                'environment', p_environment, 'hold', p_hold, 'telegram_ids', p_telegram_ids, 'adopted', true), NULL);
END $$;
COMMENT ON FUNCTION outbox.adopt IS
    'Makes a copied or moved database this environment''s own; p_hold keeps what waits. Call until adopted. Audited.';
