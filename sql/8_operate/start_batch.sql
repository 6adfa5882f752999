-- Promise: from now on housekeeping retries or discards every dead letter that meets the conditions of outbox.retry and died
-- before this moment, oldest first, at most p_per_s in a second (NULL: as fast as it goes), whoever restarts meanwhile.
-- What dies later, also of those it has retried, is no part of it. Returns its number in outbox.batches. A second call with
-- the same p_key starts nothing and returns the number of the first.
-- Locks: with a key, calls with the same one wait for each other.  Cost: counts what it will take; one row; audited.
CREATE OR REPLACE FUNCTION outbox.start_batch(
    p_verb text, p_ids bigint[] DEFAULT NULL, p_bot text DEFAULT NULL, p_class text DEFAULT NULL,
    p_tag text DEFAULT NULL, p_since timestamptz DEFAULT NULL, p_until timestamptz DEFAULT NULL,
    p_text text DEFAULT NULL, p_status text DEFAULT NULL, p_per_s float8 DEFAULT NULL, p_key text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_now CONSTANT timestamptz := outbox.clock();
    v_filter jsonb;
    v_total bigint;
    v_id bigint;
BEGIN
    IF coalesce(p_verb NOT IN ('retry', 'discard'), true) THEN
        RAISE EXCEPTION 'no batch does "%"', coalesce(left(p_verb, 80), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use retry or discard.';
    END IF;
    IF p_per_s <= 0 OR p_per_s = 'NaN' THEN
        RAISE EXCEPTION '% per second is no pace', p_per_s
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use a number above 0, or NULL for no limit.';
    END IF;
    -- Without p_until first: an empty condition is refused.
    v_filter := outbox.dead_letter_filter(p_verb, p_ids, p_bot, p_class, p_tag, p_since, p_until, p_text, p_status, 1)
        || jsonb_build_object('until', least(p_until, v_now));
    v_total := outbox.count_dead_letters(p_bot, p_class, p_tag, p_since, least(p_until, v_now), p_text, p_status, p_ids);
    INSERT INTO outbox.batch AS b (verb, filter, requested_by, requested_at, per_s, total, key)
    VALUES (p_verb, v_filter, outbox.who_acts(), v_now, p_per_s, v_total, p_key)
    ON CONFLICT (key) DO NOTHING RETURNING b.id INTO v_id;
    IF v_id IS NULL THEN
        RETURN (SELECT b.id FROM outbox.batch b WHERE b.key = p_key);
    END IF;
    PERFORM outbox.note_action('start_batch', v_filter || jsonb_strip_nulls(jsonb_build_object(
        'batch', v_id, 'verb', p_verb, 'per_s', p_per_s)), v_total);
    RETURN v_id;
END $$;
COMMENT ON FUNCTION outbox.start_batch IS
    'Retries or discards all dead letters that meet the conditions of outbox.retry and have died by now, in the background and at most p_per_s a second; returns its id in outbox.batches. With p_key a second call starts nothing. Audited.';

-- Promise: the batch takes no more dead letters; what it has done stays done. false: it had ended, or there is none.
-- Locks: the batch's row: waits for the step that is running, at most 200 dead letters.  Cost: one row, audited.
CREATE OR REPLACE FUNCTION outbox.stop_batch(p_id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    b outbox.batch;
BEGIN
    UPDATE outbox.batch x SET state = 'stopped', finished_at = outbox.clock()
     WHERE x.id = p_id AND x.finished_at IS NULL RETURNING x.* INTO b;
    PERFORM outbox.note_action('stop_batch', jsonb_build_object('batch', p_id), b.done);
    RETURN b.id IS NOT NULL;
END $$;
COMMENT ON FUNCTION outbox.stop_batch IS 'Stops a batch of dead letters where it is; false: it is not running. Audited.';
