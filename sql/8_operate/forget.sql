-- Promise: nothing here says any more what was sent to this chat, or that it was: finished messages and API calls stay
-- on record with chat_id "forgotten" and without payload, error texts and Telegram's answers; what waits, and dead
-- letters, end as discarded; the chat's row goes, and its name in audit (where no bot stands beside it, of any) and in
-- batches that have ended, also as a word of a text that operators looked for. What the application chose stays:
-- correlation_id, tag, keys.
-- Returns how many rows of history changed. Refused while a message is on its way to the chat. A late result of a
-- worker that lost its lease may still bring a row of attempt: call it again, it does no harm.
-- Locks, in order: the key of migrations, shared; rows of history, of batches that have ended and of audit; then, for a
-- moment, the chat and what waits for it. So an upgrade waits for it, and it for an upgrade: outbox.make_indexes locks chat
-- before history.
-- Cost: reads all of attempt, which has no index by chat, the days of finished that have none yet, audit and batch
-- (measured: 3.6 s for 1 M of attempt and of finished, read whole); set statement_timeout accordingly. Workers do not wait:
-- the long part holds nothing of theirs, the part that holds the chat is short.
CREATE OR REPLACE FUNCTION outbox.forget(p_bot text, p_chat_id text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_bot text := outbox.require_bot(p_bot);
    v_chat_id text := lower(p_chat_id COLLATE "C");
    v_since xid8 := pg_snapshot_xmin(pg_current_snapshot());
    v_rows bigint;
    v_named text;  -- the chat as a word of its own: 42, and not 1423
BEGIN
    IF v_chat_id IS NULL OR v_chat_id = 'forgotten' THEN
        RAISE EXCEPTION 'chat_id is missing' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Give the chat''s number, such as 42 or -1001234567890, or its @name.';
    END IF;
    IF v_chat_id !~ '^(-?[1-9][0-9]*|@[a-z][a-z0-9_]*)$' THEN
        RAISE EXCEPTION 'chat_id "%" is neither a number nor a @name', left(p_chat_id, 80)
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Give the chat''s number, such as 42 or -1001234567890, or its @name. Nothing was forgotten.';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.forget runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with the default isolation level.';
    END IF;
    -- As outbox migrate takes it.
    PERFORM pg_advisory_xact_lock_shared(122550254464888);
    v_rows := outbox.forget_history(v_bot, v_chat_id, NULL);
    v_named := '(^|[^0-9a-z_@-])' || v_chat_id || '($|[^0-9a-z_])';
    -- One that runs still needs its words: forget again when it has ended.
    UPDATE outbox.batch b SET filter = b.filter || '{"text": "forgotten"}'
     WHERE b.filter ->> 'text' ~* v_named AND b.finished_at IS NOT NULL;
    UPDATE outbox.batch b SET last_error = 'forgotten' WHERE b.last_error ~* v_named AND b.finished_at IS NOT NULL;
    UPDATE outbox.audit a SET filter = a.filter || '{"text": "forgotten"}' WHERE a.filter ->> 'text' ~* v_named;
    UPDATE outbox.audit a SET filter = a.filter || '{"last_error": "forgotten"}'
     WHERE a.filter ->> 'last_error' ~* v_named;
    UPDATE outbox.audit a SET filter = a.filter || '{"chat_id": "forgotten"}'
     WHERE lower((a.filter ->> 'chat_id') COLLATE "C") = v_chat_id
       AND coalesce(lower((a.filter ->> 'bot') COLLATE "C") = v_bot, true);
    PERFORM outbox.forget_lane(v_bot, v_chat_id);
    -- What ended meanwhile, and what forget_lane has ended.
    v_rows := v_rows + outbox.forget_history(v_bot, v_chat_id, v_since);
    PERFORM outbox.forget_chat_in_bucket(v_bot, v_chat_id);
    PERFORM outbox.note_action('forget', jsonb_build_object('bot', v_bot), v_rows);
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION outbox.forget(text, text) IS
    'Privacy: keeps a chat''s history without chat, payload and texts, ends what waits for it. correlation_id, tag and keys stay: they are the application''s words. A group that became a supergroup has two ids: forget both. Reads all history: minutes where that is large. Returns the rows changed. Audited, without the chat.';

-- Promise: the same for a chat given as a number.  Locks and Cost: see above.
CREATE OR REPLACE FUNCTION outbox.forget(p_bot text, p_chat_id bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT outbox.forget(p_bot, p_chat_id::text)
$$;
COMMENT ON FUNCTION outbox.forget(text, bigint) IS 'outbox.forget for a chat given as a number.';
