-- Promise: from now on housekeeping retries or discards every dead letter that meets the conditions of outbox.retry and died
-- before this moment, oldest first, at most p_per_s in a second (NULL: as fast as it goes), whoever restarts meanwhile.
-- What dies later, also of those it has retried, is no part of it. Returns its number in outbox.batches. A second call with
-- the same p_key starts nothing and returns the number of the first.
-- Locks: with a key, calls with the same one wait for each other.  Cost: counts what it will take, up to 100,000: total is
-- so many or more; one row; audited.
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
    IF p_per_s NOT BETWEEN 1e-6 AND 1e6 THEN
        RAISE EXCEPTION '% per second is no pace', p_per_s
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 0.000001 to 1000000, or NULL for no limit.';
    END IF;
    IF cardinality(p_ids) > 10000 THEN
        RAISE EXCEPTION '% ids are too many for a batch', cardinality(p_ids) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Name a condition such as p_class or p_tag, or start several batches of up to 10000 ids.';
    END IF;
    -- Without p_until first: an empty condition is refused.
    v_filter := outbox.dead_letter_filter(p_verb, p_ids, p_bot, p_class, p_tag, p_since, p_until, p_text, p_status, 1)
        || jsonb_build_object('until', least(p_until, v_now));
    v_total := outbox.count_dead_letters(p_bot, p_class, p_tag, p_since, least(p_until, v_now), p_text, p_status, p_ids);
    INSERT INTO outbox.batch AS b (verb, filter, requested_by, requested_at, due_at, per_s, total, key)
    VALUES (p_verb, v_filter, outbox.who_acts(), v_now, v_now, p_per_s, v_total, p_key)
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

-- Promise: the batch takes no more dead letters; what it has done stays done. false: it had ended, and nothing is audited.
-- Locks: the batch's row: waits for the step that is running, at most 200 dead letters.  Cost: one row, audited.
CREATE OR REPLACE FUNCTION outbox.stop_batch(p_id bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    b outbox.batch;
BEGIN
    UPDATE outbox.batch x SET state = 'stopped', finished_at = outbox.clock()
     WHERE x.id = p_id AND x.finished_at IS NULL RETURNING x.* INTO b;
    IF b.id IS NULL THEN
        IF EXISTS (SELECT FROM outbox.batch x WHERE x.id = p_id) THEN
            RETURN false;
        END IF;
        RAISE EXCEPTION 'there is no batch %', coalesce(p_id::text, 'NULL') USING ERRCODE = 'no_data_found',
            HINT = 'SELECT id, verb, state FROM outbox.batches shows them.';
    END IF;
    PERFORM outbox.note_action('stop_batch', jsonb_strip_nulls(jsonb_build_object(
        'batch', p_id, 'failed', nullif(b.failed, 0))), b.done);
    RETURN true;
END $$;
COMMENT ON FUNCTION outbox.stop_batch IS 'Stops a batch of dead letters where it is; false: it had ended. Audited.';
