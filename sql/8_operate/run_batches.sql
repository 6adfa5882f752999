-- Promise: one step of each batch that runs: its oldest dead letters, at most 200 and at most what its pace allows, are
-- retried or discarded. How far it is stands in its row and is committed with them. What somebody else holds is left and
-- looked at again; a batch is done when a look from the beginning finds nothing. A step that fails is noted in last_error
-- and tried again. Returns how many dead letters were moved: call again until 0, and a second later.
-- Locks: the batch, SKIP LOCKED: two callers share the work; then as outbox.retry or discard.
-- Cost: a look at an index of what runs, empty as a rule; per step as outbox.retry or discard.
CREATE OR REPLACE FUNCTION outbox.run_batches() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b outbox.batch;
    v_moved bigint;
    v_all bigint := 0;
BEGIN
    IF NOT outbox.batch_is_due() THEN
        RETURN 0;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.run_batches runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with the default isolation level.';
    END IF;
    FOR b IN SELECT x.* FROM outbox.batch x WHERE x.finished_at IS NULL ORDER BY x.id FOR UPDATE SKIP LOCKED LOOP
        BEGIN
            v_moved := outbox.step_batch(b);
            v_all := v_all + v_moved;
        EXCEPTION WHEN OTHERS THEN
            -- One batch that cannot go on must not stop the others.
            UPDATE outbox.batch x SET last_error = left(SQLERRM, 500) WHERE x.id = b.id;
        END;
    END LOOP;
    RETURN v_all;
END $$;
COMMENT ON FUNCTION outbox.run_batches IS 'Takes the batches of dead letters one step further. For housekeeping.';

-- Promise: whether a batch is running.  Locks: nothing.  Cost: a look at an index, empty as a rule.
CREATE OR REPLACE FUNCTION outbox.batch_is_due() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM outbox.batch b WHERE b.finished_at IS NULL)
$$;
COMMENT ON FUNCTION outbox.batch_is_due IS 'Whether outbox.run_batches has something to do. For housekeeping.';

-- Promise: one step of one batch; how many dead letters it moved.
-- Locks and Cost: see run_batches.
-- paced_at: up to when its pace is used up. reached_at: until which time of death it has come in this look.
CREATE OR REPLACE FUNCTION outbox.step_batch(b outbox.batch) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_now CONSTANT timestamptz := outbox.clock();
    -- What was not used of the pace is kept for 2 s, or until it is enough for one.
    v_paced_at CONSTANT timestamptz := least(v_now, greatest(
        coalesce(b.paced_at, v_now - make_interval(secs => 1 / b.per_s)),
        v_now - make_interval(secs => greatest(2, 1 / b.per_s))));
    v_most CONSTANT int := CASE WHEN b.per_s IS NULL THEN 200
        ELSE least(200, floor(extract(epoch FROM v_now - v_paced_at) * b.per_s + 1e-6)) END;
    v_filter jsonb := b.filter;
    v_moved bigint;
    r record;
BEGIN
    IF v_most < 1 THEN
        RETURN 0;
    END IF;
    IF b.reached_at IS NOT NULL THEN
        v_filter := v_filter || jsonb_build_object('since', greatest((b.filter ->> 'since')::timestamptz, b.reached_at));
    END IF;
    SELECT array_agg(m.id) AS ids, array_agg(m.chat_id) AS chat_ids, array_agg(m.bot) AS bots, max(d.died_at) AS last_at
      INTO r
      FROM outbox.match_dead_letters(v_filter, v_most, '{}') m
     CROSS JOIN LATERAL (SELECT d.died_at FROM outbox.dead_letter d WHERE d.id = m.id LIMIT 1) d;
    IF r.ids IS NULL THEN
        UPDATE outbox.batch x
           SET reached_at = NULL, state = CASE WHEN b.reached_at IS NULL THEN 'done' ELSE x.state END,
               finished_at = CASE WHEN b.reached_at IS NULL THEN v_now END
         WHERE x.id = b.id;
        IF b.reached_at IS NULL THEN
            PERFORM outbox.note_batch(b);
        END IF;
        RETURN 0;
    END IF;
    IF b.verb = 'retry' THEN
        v_moved := outbox.revive_dead_letters(outbox.lock_lanes_of(r.ids, r.chat_ids, r.bots));
    ELSE
        v_moved := outbox.discard_dead_letters(ARRAY(
            SELECT d.id FROM outbox.dead_letter d WHERE d.id = ANY (r.ids) FOR UPDATE SKIP LOCKED), 'discarded_by_operator');
    END IF;
    UPDATE outbox.batch x
       SET done = x.done + v_moved, reached_at = r.last_at, last_error = NULL,
           paced_at = v_paced_at + make_interval(secs => coalesce(v_moved / b.per_s, 0))
     WHERE x.id = b.id;
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION outbox.step_batch IS 'One step of a batch of dead letters. Part of run_batches.';

-- Promise: a batch's end is on record under the name of who asked for it.  Locks: nothing.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.note_batch(b outbox.batch) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.audit (who, what, filter, count)
    VALUES ((b).requested_by, (b).verb, (b).filter || jsonb_build_object('batch', (b).id), (b).done)
$$;
COMMENT ON FUNCTION outbox.note_batch IS 'Writes the end of a batch into outbox.audit. Part of run_batches.';
