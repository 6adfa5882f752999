-- Promise: the oldest dead letters that meet every condition, at most p_limit, wait in their lanes again and obey every
-- limit as all others do: same id, same place, attempts and history kept, as many attempts again, no expiry, the chat's
-- suppression lifted. Returns how many; 0: none is left. A late "sent" is not thrown away (I7): it comes before and
-- none is retried, or after and the message ends as sent.
-- Locks, in order: chats by (chat_id, bot), SKIP LOCKED, then dead letters: two operators share the work. Only when
-- every match is in other hands it waits, for one chat, holding nothing. Results for these chats wait for the commit:
-- call it with autocommit.
-- Cost: finding them, see match_dead_letters; then a few statements per batch (measured: 0.12 ms each). The conditions
-- are audited; a dry run is not.
CREATE OR REPLACE FUNCTION outbox.retry(
    p_ids bigint[] DEFAULT NULL, p_bot text DEFAULT NULL, p_class text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_since timestamptz DEFAULT NULL, p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL,
    p_limit int DEFAULT 1000, p_dry_run boolean DEFAULT false, p_status text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_filter jsonb := outbox.dead_letter_filter('retry', p_ids, p_bot, p_class, p_tag, p_since, p_until, p_text,
                                                p_status, p_limit);
    v_busy bigint[] := '{}';
    v_moved bigint := 0;
    r record;
BEGIN
    IF p_dry_run THEN
        RETURN (SELECT count(*) FROM outbox.match_dead_letters(v_filter, p_limit, '{}'));
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- Look after you lock (I3): an older snapshot would not see the late "sent" that it waited for.
        RAISE EXCEPTION 'outbox.retry runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with the default isolation level.';
    END IF;

    LOOP
        SELECT array_agg(m.id) AS ids, array_agg(m.chat_id) AS chat_ids, array_agg(m.bot) AS bots
          INTO r FROM outbox.match_dead_letters(v_filter, p_limit, v_busy) m;
        EXIT WHEN r.ids IS NULL;
        v_moved := outbox.revive_dead_letters(outbox.lock_lanes_of(r.ids, r.chat_ids, r.bots));
        EXIT WHEN v_moved > 0;
        v_busy := v_busy || r.ids;
    END LOOP;
    IF v_busy <> '{}' AND v_moved = 0 THEN
        PERFORM FROM (SELECT d.chat_id, d.bot FROM outbox.dead_letter d WHERE d.id = ANY (v_busy)
                       ORDER BY d.died_at, d.id LIMIT 1) d
          CROSS JOIN LATERAL (SELECT FROM outbox.chat c WHERE c.chat_id = d.chat_id AND c.bot = d.bot FOR UPDATE) c;
        SELECT array_agg(m.id) AS ids, array_agg(m.chat_id) AS chat_ids, array_agg(m.bot) AS bots
          INTO r FROM outbox.match_dead_letters(v_filter, p_limit, '{}') m;
        v_moved := outbox.revive_dead_letters(outbox.lock_lanes_of(r.ids, r.chat_ids, r.bots));
    END IF;

    PERFORM outbox.note_action('retry', v_filter, v_moved);
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION outbox.retry(bigint[], text, text, text, timestamptz, timestamptz, text, int, boolean, text) IS
    'Puts dead letters back into their lanes, oldest first; all conditions given must hold, since and until are about the time of death, text is part of error_text. Returns how many: call again until 0. Messages of status uncertain may have arrived: p_status => ''dead'' leaves them out. One whose tag was cancelled within the last minutes ends as cancelled. With autocommit: workers'' results for these chats wait for the commit. Audited.';

-- Promise: retry for one dead letter; 0: there is none of that id.  Locks and Cost: see above.
CREATE OR REPLACE FUNCTION outbox.retry(p_id bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT outbox.retry(p_ids => ARRAY[p_id])
$$;
COMMENT ON FUNCTION outbox.retry(bigint) IS
    'Puts one dead letter back into its lane; 0: there is none of that id. Audited.';

-- Promise: of these dead letters, arrays in step, those whose lanes the caller holds from now on; a lane that somebody
-- else holds is passed over, one without a row needs no holding.
-- Locks: chats by (chat_id, bot), SKIP LOCKED.  Cost: one probe each.
CREATE OR REPLACE FUNCTION outbox.lock_lanes_of(p_ids bigint[], p_chat_ids text[], p_bots text[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_held text[];
BEGIN
    v_held := ARRAY(
        SELECT c.bot || ' ' || c.chat_id
          FROM (SELECT DISTINCT l.chat_id COLLATE "C" AS chat_id, l.bot FROM unnest(p_chat_ids, p_bots) l (chat_id, bot)
                 ORDER BY 1, 2) u
         CROSS JOIN LATERAL (SELECT c.chat_id, c.bot FROM outbox.chat c
                              WHERE c.chat_id = u.chat_id AND c.bot = u.bot FOR UPDATE SKIP LOCKED) c);
    RETURN ARRAY(SELECT l.id FROM unnest(p_ids, p_chat_ids, p_bots) l (id, chat_id, bot)
                  WHERE l.bot || ' ' || l.chat_id = ANY (v_held)
                     OR NOT EXISTS (SELECT FROM outbox.chat c WHERE c.chat_id = l.chat_id AND c.bot = l.bot));
END $$;
COMMENT ON FUNCTION outbox.lock_lanes_of IS 'Takes the lanes of dead letters that nobody holds. Part of retry.';
