-- Promise: the oldest dead letters that meet every condition, at most p_limit, are history: status discarded,
-- error_class discarded_by_operator. Returns how many; 0: none is left.
-- Locks: dead letters, SKIP LOCKED: two operators share the work. Only when every match is in other hands it waits, for
-- the oldest, holding nothing.
-- Cost: finding them, see match_dead_letters; one delete and one insert each. The conditions are audited; a dry run is
-- not.
CREATE OR REPLACE FUNCTION outbox.discard(
    p_ids bigint[] DEFAULT NULL, p_bot text DEFAULT NULL, p_class text DEFAULT NULL, p_tag text DEFAULT NULL,
    p_since timestamptz DEFAULT NULL, p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL,
    p_limit int DEFAULT 1000, p_dry_run boolean DEFAULT false, p_status text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_filter jsonb := outbox.dead_letter_filter('discard', p_ids, p_bot, p_class, p_tag, p_since, p_until, p_text,
                                                p_status, p_limit);
    v_busy bigint[] := '{}';
    v_found bigint[];
    v_moved bigint := 0;
BEGIN
    IF p_dry_run THEN
        RETURN (SELECT count(*) FROM outbox.match_dead_letters(v_filter, p_limit, '{}'));
    END IF;
    LOOP
        v_found := ARRAY(SELECT m.id FROM outbox.match_dead_letters(v_filter, p_limit, v_busy) m);
        EXIT WHEN v_found = '{}';
        v_moved := outbox.discard_dead_letters(ARRAY(
            SELECT d.id FROM outbox.dead_letter d WHERE d.id = ANY (v_found) FOR UPDATE SKIP LOCKED),
            'discarded_by_operator');
        EXIT WHEN v_moved > 0;
        v_busy := v_busy || v_found;
    END LOOP;
    IF v_busy <> '{}' AND v_moved = 0 THEN
        v_moved := outbox.discard_dead_letters(v_busy[1:1], 'discarded_by_operator');
    END IF;
    PERFORM outbox.note_action('discard', v_filter, v_moved);
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION outbox.discard(bigint[], text, text, text, timestamptz, timestamptz, text, int, boolean, text) IS
    'Ends dead letters as discarded, oldest first; all conditions given must hold, since and until are about the time of death, text is part of error_text. Returns how many: call again until 0. Audited.';

-- Promise: discard for one dead letter; 0: there is none of that id.  Locks and Cost: see above.
CREATE OR REPLACE FUNCTION outbox.discard(p_id bigint) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT outbox.discard(p_ids => ARRAY[p_id])
$$;
COMMENT ON FUNCTION outbox.discard(bigint) IS
    'Ends one dead letter as discarded; 0: there is none of that id. Audited.';
