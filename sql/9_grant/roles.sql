-- Promise: who may call what. Roles are the cluster's: made where the owner may make them, shared with other databases.
-- Without the right to make roles everything else goes on, and only the owner can use the outbox until a DBA makes them.
DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['outbox_producer', 'outbox_reader', 'outbox_worker', 'outbox_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'role % was not made: % may not. Ask a DBA: CREATE ROLE % NOLOGIN; then migrate again.',
                        v_role, current_user, v_role;
                WHEN duplicate_object OR unique_violation THEN
                    NULL;  -- another database made it this moment
            END;
        END IF;
    END LOOP;
END $$;

-- Nobody calls anything that is not granted below.
REVOKE ALL ON SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM PUBLIC;

DO $$
DECLARE
    v_grant record;
BEGIN
    FOR v_grant IN
        SELECT * FROM (VALUES
            ('outbox_producer', 'USAGE ON SCHEMA outbox'),
            ('outbox_producer', 'INSERT (bot, chat_id, method, payload, priority, next_attempt_at, expires_at, max_attempts, '
                                'correlation_id, idempotency_key, collapse_key, on_uncertain, tag) ON outbox.message'),
            ('outbox_producer', 'SELECT (id, correlation_id) ON outbox.message'),
            ('outbox_reader', 'USAGE ON SCHEMA outbox'),
            ('outbox_reader', 'SELECT ON outbox.history, outbox.due, outbox.limits, outbox.queue, outbox.attempt, '
                              'outbox.bot, outbox.worker, outbox.housekeeping, outbox.depth, outbox.release, outbox.audit'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.clock(), outbox.lane_waits_until(outbox.chat, smallint), '
                              'outbox.least_round_trip_s(outbox.bucket), outbox.gcra_step_s(int, float8), '
                              'outbox.offer_slots(outbox.bucket, int, float8, timestamptz, int)'),
            ('outbox_worker', 'outbox_reader'),
            ('outbox_worker', 'SELECT, INSERT, UPDATE, DELETE ON outbox.bucket, outbox.chat, outbox.message, outbox.wakeup, '
                              'outbox.request, outbox.attempt, outbox.finished, outbox.dead_letter, outbox.worker, '
                              'outbox.housekeeping, outbox.depth'),
            ('outbox_worker', 'SELECT ON outbox.stop, outbox.idempotency'),
            ('outbox_worker', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox'),
            ('outbox_admin', 'outbox_producer'),
            ('outbox_admin', 'outbox_worker'),
            ('outbox_admin', 'SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox'),
            ('outbox_admin', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox')) g (role, what)
    LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_grant.role);
        BEGIN
            EXECUTE format('GRANT %s TO %I', v_grant.what, v_grant.role);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% was not granted to %: ask a DBA.', v_grant.what, v_grant.role;
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_worker') THEN
        -- What only an operator decides.
        REVOKE EXECUTE ON FUNCTION outbox.set_bot FROM outbox_worker;
    END IF;
END $$;
