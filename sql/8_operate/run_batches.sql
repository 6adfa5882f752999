-- Promise: one step of one batch that is due, the one that has waited longest for its turn: of the next dead letters in order
-- of death those that nobody holds, at most 200 and at most what its pace allows, are retried or discarded. How far it is
-- stands in its row and is committed with them. It is done when a look from the beginning finds nothing more to move. A step
-- that fails is noted in last_error and tried again with half as many; a dead letter that fails alone is stepped past and
-- counted as failed. Returns how many were moved; NULL: none is due. Call again until NULL, and a second later.
-- Locks: the batch, SKIP LOCKED: two callers share the work; then as outbox.retry or discard, waiting for nobody.
-- Cost: a look at an index of what runs, empty as a rule; per step see next_of_batch, and as outbox.retry or discard.
CREATE OR REPLACE FUNCTION outbox.run_batches() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b outbox.batch;
BEGIN
    IF NOT outbox.batch_is_due() THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.run_batches runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with the default isolation level.';
    END IF;
    b := outbox.lock_batch();
    IF b.id IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        RETURN outbox.step_batch(b);
    -- OTHERS is without query_canceled: a step that ran out of statement_timeout must be a smaller one the next time.
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM outbox.fail_batch(b, SQLERRM);
        RETURN 0;
    END;
END $$;
COMMENT ON FUNCTION outbox.run_batches IS 'Takes one batch of dead letters one step further; NULL: none is due. For housekeeping.';

-- Promise: whether a batch is running.  Locks: nothing.  Cost: a look at an index, empty as a rule.
CREATE OR REPLACE FUNCTION outbox.batch_is_due() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM outbox.batch b WHERE b.finished_at IS NULL)
$$;
COMMENT ON FUNCTION outbox.batch_is_due IS 'Whether outbox.run_batches has something to do, now or later. For housekeeping.';

-- Promise: run_batches failed and could not say so itself, as when its answer was lost: the batch whose turn it was
-- (outbox.batch_in_turn, asked before) has the error, takes half a step and lets the others go first. One that has ended,
-- or that somebody takes further just now, is left alone.  Locks: the batch, SKIP LOCKED.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.note_batch_error(p_id bigint, p_error text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE outbox.batch x
       SET last_error = left(p_error, 500), step_size = greatest(1, x.step_size / 2),
           due_at = outbox.clock() + interval '1 s'
     WHERE x.id = (SELECT b.id FROM outbox.batch b WHERE b.id = p_id AND b.finished_at IS NULL FOR UPDATE SKIP LOCKED)
$$;
COMMENT ON FUNCTION outbox.note_batch_error IS 'Writes an error that run_batches could not write into its batch. For housekeeping.';

-- Promise: the batch that is due for longest, held by the caller from now on; NULL: none is due.
-- Locks: the batch, SKIP LOCKED.  Cost: an index entry.
CREATE OR REPLACE FUNCTION outbox.lock_batch() RETURNS outbox.batch
LANGUAGE sql VOLATILE AS $$
    SELECT b FROM outbox.batch b WHERE b.finished_at IS NULL AND b.due_at <= outbox.clock()
     ORDER BY b.due_at, b.id LIMIT 1 FOR UPDATE SKIP LOCKED
$$;
COMMENT ON FUNCTION outbox.lock_batch IS 'Takes the batch whose turn it is. Part of run_batches.';

-- Promise: the batch that run_batches takes next, for who must say which one it was when the answer is lost; NULL: none.
-- Locks and Cost: as run_batches with nothing to move.
CREATE OR REPLACE FUNCTION outbox.batch_in_turn() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (outbox.lock_batch()).id
$$;
COMMENT ON FUNCTION outbox.batch_in_turn IS 'The batch of dead letters whose turn it is. For housekeeping, before run_batches.';

-- Promise: one step of one batch; how many dead letters it moved.  Locks and Cost: see run_batches.
CREATE OR REPLACE FUNCTION outbox.step_batch(b outbox.batch) RETURNS bigint
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_now CONSTANT timestamptz := outbox.clock();
    -- What was not used of the pace is kept for 2 s, or until it is enough for one.
    v_paced_at CONSTANT timestamptz := least(v_now, greatest(
        coalesce(b.paced_at, v_now - make_interval(secs => 1 / b.per_s)),
        v_now - make_interval(secs => greatest(2, 1 / b.per_s))));
    v_most CONSTANT int := CASE WHEN b.per_s IS NULL THEN 200
        ELSE least(200, greatest(1, floor(extract(epoch FROM v_now - v_paced_at) * b.per_s + 1e-6))) END;
    v_seen int := 0;
    v_to int;
    v_ids bigint[] := '{}';
    v_moved bigint;
    c record;
BEGIN
    c := outbox.next_of_batch(b);
    IF c.n = 0 AND c.walked_to_id IS NULL THEN
        PERFORM outbox.end_look(b);
        RETURN 0;
    END IF;
    -- What is held uses up no pace, or the same held chat would stop a slow batch in every step.
    WHILE v_seen < c.n AND cardinality(v_ids) < v_most LOOP
        v_to := least(c.n, v_seen + v_most - cardinality(v_ids));
        IF b.verb = 'retry' THEN
            v_ids := v_ids || outbox.lock_lanes_of(
                c.ids[v_seen + 1 : v_to], c.chat_ids[v_seen + 1 : v_to], c.bots[v_seen + 1 : v_to]);
        ELSE
            v_ids := v_ids || ARRAY(SELECT d.id FROM outbox.dead_letter d
                                     WHERE d.id = ANY (c.ids[v_seen + 1 : v_to]) FOR UPDATE SKIP LOCKED);
        END IF;
        v_seen := v_to;
    END LOOP;
    v_moved := CASE b.verb WHEN 'retry' THEN outbox.revive_dead_letters(v_ids)
                           ELSE outbox.discard_dead_letters(v_ids, 'discarded_by_operator') END;
    UPDATE outbox.batch x
       SET done = x.done + v_moved, found = x.found + v_seen, step_size = least(200, x.step_size * 2),
           last_error = CASE WHEN x.failed > 0 THEN x.last_error END,
           reached_at = CASE WHEN v_seen = c.n THEN coalesce(c.walked_to_at, c.died_at[v_seen]) ELSE c.died_at[v_seen] END,
           reached_id = CASE WHEN v_seen = c.n THEN coalesce(c.walked_to_id, c.ids[v_seen]) ELSE c.ids[v_seen] END,
           paced_at = p.paced_at,
           -- A second's worth, or a full step, at a time. Where all is held, a second later.
           due_at = greatest(outbox.clock() + CASE WHEN c.n > 0 AND v_moved = 0 THEN interval '1 s' ELSE '0' END,
                             p.paced_at + make_interval(secs => greatest(1 / x.per_s, least(1, 200 / x.per_s))))
      FROM (SELECT v_paced_at + make_interval(secs => coalesce(v_moved / b.per_s, 0)) AS paced_at) p
     WHERE x.id = b.id;
    RETURN v_moved;
END $$;
COMMENT ON FUNCTION outbox.step_batch IS 'One step of a batch of dead letters. Part of run_batches.';

-- Promise: the next dead letters of a batch in order of death, strictly behind the one that it has reached, held or not, at
-- most its step_size; walked_to: where it stopped looking without having found so many.
-- Locks: nothing.  Cost: by ids one probe each, at most 10,000; else a walk over at most 100 times its step_size.
CREATE OR REPLACE FUNCTION outbox.next_of_batch(
    b outbox.batch, OUT n int, OUT ids bigint[], OUT chat_ids text[], OUT bots text[], OUT died_at timestamptz[],
    OUT walked_to_at timestamptz, OUT walked_to_id bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_incremental_sort = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_bot CONSTANT text := b.filter ->> 'bot';
    v_class CONSTANT text := b.filter ->> 'class';
    v_tag CONSTANT text := b.filter ->> 'tag';
    v_text CONSTANT text := b.filter ->> 'text';
    v_status CONSTANT text := b.filter ->> 'status';
    v_since CONSTANT timestamptz := coalesce((b.filter ->> 'since')::timestamptz, '-infinity');
    v_until CONSTANT timestamptz := coalesce((b.filter ->> 'until')::timestamptz, 'infinity');
    v_after_at CONSTANT timestamptz := coalesce(b.reached_at, '-infinity');
    v_after_id CONSTANT bigint := coalesce(b.reached_id, 0);
    v_walk CONSTANT int := b.step_size * 100;
BEGIN
    IF b.filter ? 'ids' THEN
        SELECT count(*), array_agg(f.id), array_agg(f.chat_id), array_agg(f.bot), array_agg(f.died_at)
          INTO n, ids, chat_ids, bots, died_at
          FROM (SELECT d.id, d.chat_id::text, d.bot, d.died_at
                  FROM (SELECT DISTINCT i::bigint AS id FROM jsonb_array_elements_text(b.filter -> 'ids') i) i
                 CROSS JOIN LATERAL (SELECT x.* FROM outbox.dead_letter x WHERE x.id = i.id LIMIT 1) d
                 WHERE d.died_at >= v_since AND d.died_at < v_until AND (d.died_at, d.id) > (v_after_at, v_after_id)
                   AND outbox.is_such_a_dead_letter(d, v_bot, v_class, v_tag, v_text, v_status)
                 ORDER BY d.died_at, d.id LIMIT b.step_size) f;
        RETURN;
    END IF;
    SELECT count(*), array_agg(f.id), array_agg(f.chat_id), array_agg(f.bot), array_agg(f.died_at)
      INTO n, ids, chat_ids, bots, died_at
      FROM (SELECT d.id, d.chat_id::text, d.bot, d.died_at
              FROM (SELECT x.* FROM outbox.dead_letter x
                     WHERE x.died_at >= v_since AND x.died_at < v_until AND (x.died_at, x.id) > (v_after_at, v_after_id)
                     ORDER BY x.died_at, x.id LIMIT v_walk) d
             WHERE outbox.is_such_a_dead_letter(d, v_bot, v_class, v_tag, v_text, v_status)
             ORDER BY d.died_at, d.id LIMIT b.step_size) f;
    IF n < b.step_size THEN
        SELECT d.died_at, d.id INTO walked_to_at, walked_to_id FROM outbox.dead_letter d
         WHERE d.died_at >= v_since AND d.died_at < v_until AND (d.died_at, d.id) > (v_after_at, v_after_id)
         ORDER BY d.died_at, d.id LIMIT 1 OFFSET v_walk - 1;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.next_of_batch IS 'The dead letters that a batch looks at in its next step. Part of run_batches.';

-- Promise: a look that has come to its end is followed by another one, from the beginning; if it moved nothing and left
-- nothing in other hands, the batch is done.  Locks: the caller holds the batch.  Cost: one row, at the end one more.
CREATE OR REPLACE FUNCTION outbox.end_look(b outbox.batch) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF b.found > 0 THEN
        UPDATE outbox.batch x
           SET reached_at = NULL, reached_id = NULL, found = 0, failed = 0, due_at = outbox.clock() WHERE x.id = b.id;
        RETURN;
    END IF;
    UPDATE outbox.batch x
       SET state = 'done', finished_at = outbox.clock(), last_error = CASE WHEN x.failed > 0 THEN x.last_error END
     WHERE x.id = b.id;
    -- On record under the name of who asked for it.
    INSERT INTO outbox.audit (who, what, filter, count)
    VALUES (b.requested_by, b.verb, b.filter || jsonb_strip_nulls(jsonb_build_object(
                'batch', b.id, 'failed', nullif(b.failed, 0), 'last_error', CASE WHEN b.failed > 0 THEN b.last_error END)),
            b.done);
END $$;
COMMENT ON FUNCTION outbox.end_look IS 'Begins a batch''s next look, or ends the batch and audits it. Part of run_batches.';

-- Promise: a step that failed is tried again with half as many; what fails alone is stepped past.
-- Locks: the caller holds the batch.  Cost: one row, and finding the one, see next_of_batch.
CREATE OR REPLACE FUNCTION outbox.fail_batch(b outbox.batch, p_error text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    IF b.step_size = 1 THEN
        c := outbox.next_of_batch(b);
    ELSE
        SELECT 0 AS n, NULL::bigint[] AS ids, NULL::timestamptz[] AS died_at INTO c;
    END IF;
    UPDATE outbox.batch x
       SET last_error = left(p_error, 500), step_size = greatest(1, x.step_size / 2), failed = x.failed + c.n,
           reached_at = CASE WHEN c.n = 1 THEN c.died_at[1] ELSE x.reached_at END,
           reached_id = CASE WHEN c.n = 1 THEN c.ids[1] ELSE x.reached_id END,
           due_at = outbox.clock() + CASE WHEN x.step_size = 1 AND c.n = 0 THEN interval '1 s' ELSE '0' END
     WHERE x.id = b.id;
END $$;
COMMENT ON FUNCTION outbox.fail_batch IS 'Notes that a step of a batch failed, and makes the next one smaller. Part of run_batches.';
