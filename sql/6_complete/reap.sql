-- Promise: the lanes of one ended worker are free again, their outcome unknown. Returns how many.
-- Locks: the lanes.  Cost: one walk over chat (only its primary key is indexed, so that every update is HOT): paid once
-- per death, not per message.
CREATE OR REPLACE FUNCTION outbox.release_worker(p_worker bigint, p_why text) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_results jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object(
               'bot', c.bot, 'chat_id', c.chat_id, 'message_id', c.in_flight, 'attempt', c.attempt, 'outcome', 'uncertain',
               'age_s', 0, 'duration_s', extract(epoch FROM outbox.clock() - c.claimed_at),
               'error_class', 'worker_died', 'error_text', p_why))
      INTO v_results FROM outbox.chat c WHERE c.worker = p_worker;
    IF v_results IS NULL THEN
        RETURN 0;
    END IF;
    RETURN outbox.complete(p_worker, v_results);
END $$;
COMMENT ON FUNCTION outbox.release_worker IS 'Frees the lanes of an ended worker: outcome uncertain. Part of reap and leave.';

-- Promise: when a lease ends: 20 s after the server's start at the soonest. While the server was away nobody could renew it,
-- and the results that its worker kept are the truth about its lanes.
-- Locks: nothing.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.lease_ends_at(p_lease_until timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    -- A start that lies ahead was before the clock stepped back (I5).
    SELECT CASE WHEN pg_postmaster_start_time() <= outbox.clock()
                THEN greatest(p_lease_until, pg_postmaster_start_time() + interval '20 s') ELSE p_lease_until END
$$;
COMMENT ON FUNCTION outbox.lease_ends_at IS 'When a lease ends, a restart of the server considered. Part of reap.';

-- Promise: every worker whose lease ran out is ended and its lanes are free. Returns how many lanes.
-- Locks: the worker (a claim that runs just now is left alone), then its lanes.  Cost: a look at the living workers; per
-- death one walk over chat.
CREATE OR REPLACE FUNCTION outbox.reap() RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_workers bigint[];
    v_worker bigint;
    v_lanes int := 0;
BEGIN
    -- A heartbeat ahead of now was given before the clock stepped back: its lease begins anew.
    UPDATE outbox.worker w SET heartbeat_at = outbox.clock(), lease_until = outbox.clock() + interval '20 s'
     WHERE w.ended_at IS NULL AND w.heartbeat_at > outbox.clock() + interval '1 s';
    v_workers := ARRAY(SELECT w.id FROM outbox.worker w
                        WHERE w.ended_at IS NULL AND outbox.lease_ends_at(w.lease_until) < outbox.clock()
                        ORDER BY w.id FOR UPDATE SKIP LOCKED);
    IF v_workers = '{}' THEN
        RETURN 0;
    END IF;
    UPDATE outbox.worker w SET ended_at = outbox.clock(), reaped = true, idle = false WHERE w.id = ANY (v_workers);
    -- All their lanes at once and in order: worker by worker they could meet a complete the other way round.
    PERFORM FROM outbox.chat c WHERE c.worker = ANY (v_workers) ORDER BY c.chat_id, c.bot FOR UPDATE;
    FOREACH v_worker IN ARRAY v_workers LOOP
        v_lanes := v_lanes + outbox.release_worker(v_worker, 'the worker''s lease ran out');
    END LOOP;
    RETURN v_lanes;
END $$;
COMMENT ON FUNCTION outbox.reap IS 'Ends workers whose lease ran out and frees their lanes. Any worker may call it.';

-- Promise: in how many seconds the soonest lease of a living worker ends; the workers that live renew theirs long before.
-- NULL: nobody lives.  Locks: nothing.  Cost: a look at the living workers.
CREATE OR REPLACE FUNCTION outbox.lease_ends_in_s() RETURNS float8
LANGUAGE sql STABLE AS $$
    SELECT extract(epoch FROM outbox.lease_ends_at(min(w.lease_until)) - outbox.clock())::float8
      FROM outbox.worker w WHERE w.ended_at IS NULL
$$;
COMMENT ON FUNCTION outbox.lease_ends_in_s IS 'Seconds until the soonest lease ends: when to reap next.';

-- Promise: a worker's clean goodbye; whatever it could not finish within its grace period is uncertain.
-- Locks: the worker, then its lanes.  Cost: one walk over chat.
CREATE OR REPLACE FUNCTION outbox.leave(p_worker bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- Stronger than the update's own lock: a claim of this worker that runs just now is waited for, or its lanes would
    -- be in flight for nobody.
    PERFORM FROM outbox.worker w WHERE w.id = p_worker FOR UPDATE;
    UPDATE outbox.worker w SET ended_at = outbox.clock(), idle = false WHERE w.id = p_worker AND w.ended_at IS NULL;
    IF FOUND THEN
        PERFORM outbox.release_worker(p_worker, 'the worker stopped before the answer came');
    END IF;
END $$;
COMMENT ON FUNCTION outbox.leave IS 'Ends a worker that stops; its remaining lanes are freed as uncertain.';
