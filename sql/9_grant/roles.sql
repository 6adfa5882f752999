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
REVOKE ALL ON ALL PROCEDURES IN SCHEMA outbox FROM PUBLIC;

DO $$
DECLARE
    v_grant record;
BEGIN
    FOR v_grant IN
        SELECT * FROM (VALUES
            ('outbox_producer', 'USAGE ON SCHEMA outbox'),
            ('outbox_producer', 'INSERT (bot, chat_id, method, payload, priority, next_attempt_at, expires_at, max_attempts, '
                                'correlation_id, idempotency_key, collapse_key, on_uncertain, tag, target_id) ON outbox.message'),
            ('outbox_producer', 'SELECT (id, correlation_id) ON outbox.message'),
            ('outbox_producer', 'EXECUTE ON PROCEDURE outbox.acquire(text, text, int, bigint, timestamptz, float8), '
                                'outbox.settle(bigint, float8, text, float8), outbox.refuse_open_transaction(text)'),
            -- Of acquire and settle: a procedure that commits cannot run with its owner's rights, its parts can.
            ('outbox_producer', 'EXECUTE ON FUNCTION outbox.refusal_inside_a_transaction(), outbox.clock(), '
                                'outbox.open_lane(text, text, int), outbox.give_ticket(text, text, int), '
                                'outbox.drop_tickets(), outbox.settle_lane(bigint, timestamptz, text, float8), '
                                'outbox.settle_slot(bigint, timestamptz, text, float8), outbox.reply_limits(text), '
                                'outbox.refuse_bad_settlement(text, float8)'),
            ('outbox_producer', 'EXECUTE ON FUNCTION outbox.send(text, jsonb, text, text, int, timestamptz, timestamptz, '
                                'int, text, text, text, text, text, bigint), outbox.send(bigint, jsonb, text, text, int, '
                                'timestamptz, timestamptz, int, text, text, text, text, text, bigint), '
                                'outbox.cancel(bigint, text, text, text), outbox.status(bigint), '
                                'outbox.watch(bigint, float8)'),
            ('outbox_producer', 'EXECUTE ON FUNCTION outbox.lift_suppression(text, text), '
                                'outbox.lift_suppression(text, bigint)'),
            ('outbox_reader', 'USAGE ON SCHEMA outbox'),
            ('outbox_reader', 'SELECT ON outbox.history, outbox.due, outbox.limits, outbox.queue, outbox.attempt, '
                              'outbox.bot, outbox.worker, outbox.housekeeping, outbox.depth, outbox.release, outbox.audit, '
                              'outbox.breaker_change, outbox.request, outbox.stop'),
            ('outbox_producer', 'SELECT ON outbox.pressure'),
            ('outbox_producer', 'EXECUTE ON FUNCTION outbox.estimate_pressure(text), outbox.telegram_answer(bigint)'),
            ('outbox_reader', 'SELECT ON outbox.pressure, outbox.failures, outbox.throughput, outbox.broadcasts'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.broadcast_state(), '
                              'outbox.count_ended(xid8, xid8, timestamptz, timestamptz, timestamptz)'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.estimate_pressure(text), outbox.telegram_answer(bigint), '
                              'outbox.explain(bigint), outbox.status(bigint), outbox.follow(text, int), '
                              'outbox.follow_from_now(), outbox.head_waits_until(outbox.chat, smallint, text, int)'),
            -- What people look for: each returns no payload.
            ('outbox_reader', 'SELECT ON outbox.batches, outbox.workers'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.find_messages, outbox.search_messages, outbox.count_messages, '
                              'outbox.search_reach, outbox.shape(text), outbox.timeline(bigint), '
                              'outbox.find_dead_letters, outbox.dead_letter_groups, outbox.dead_letter_reach, '
                              'outbox.count_dead_letters, outbox.find_chats(text, text, text, text, int), '
                              'outbox.chats_are_read_whole(), '
                              'outbox.rate_series(int, int), outbox.outcomes(int), outbox.lacks_index(text, timestamptz), '
                              'outbox.house_is_kept(), outbox.lease_ends_at(timestamptz)'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.clock(), outbox.lane_waits_until(outbox.chat, smallint), '
                              'outbox.least_round_trip_s(outbox.bucket), outbox.gcra_step_s(int, float8), '
                              'outbox.offer_slots(outbox.bucket, int, float8, timestamptz, int), '
                              'outbox.offer_slots_until(outbox.bucket, int, float8, timestamptz, int, interval)'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.gauges(text), outbox.find_astray(int), outbox.check_alerts(jsonb)'),
            ('outbox_reader', 'SELECT ON outbox.tally, outbox.finding'),
            ('outbox_reader', 'SELECT ON outbox.identity'),
            ('outbox_reader', 'EXECUTE ON FUNCTION outbox.examine(text), outbox.examine_connections(), '
                              'outbox.examine_transactions(), outbox.examine_vacuum(), outbox.examine_roles(), '
                              'outbox.examine_partitions(), outbox.examine_housekeeping(), outbox.examine_workers(), '
                              'outbox.examine_bots(), outbox.examine_lanes(), outbox.examine_wakeups(), '
                              'outbox.examine_dead_letters(), outbox.examine_suppressed_chats(), '
                              'outbox.examine_batches(), outbox.bots_waiting(), '
                              'outbox.time_in_words(interval), outbox.identity_differs(text, jsonb), outbox.database_key()'),
            ('outbox_worker', 'outbox_reader'),
            ('outbox_worker', 'SELECT, INSERT, UPDATE, DELETE ON outbox.bucket, outbox.chat, outbox.message, outbox.wakeup, '
                              'outbox.request, outbox.attempt, outbox.finished, outbox.dead_letter, outbox.worker, '
                              'outbox.housekeeping, outbox.depth, outbox.backlog, outbox.breaker_change, outbox.stop, '
                              'outbox.watch, outbox.broadcast, outbox.broadcast_mark, outbox.tally, outbox.finding'),
            ('outbox_worker', 'SELECT ON outbox.idempotency'),
            ('outbox_worker', 'UPDATE (paid_broadcast_refused_at, telegram_id) ON outbox.bot'),
            ('outbox_worker', 'SELECT, INSERT ON outbox.identity'),
            ('outbox_worker', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox'),
            ('outbox_worker', 'EXECUTE ON ALL PROCEDURES IN SCHEMA outbox'),
            ('outbox_admin', 'outbox_producer'),
            ('outbox_admin', 'outbox_worker'),
            ('outbox_admin', 'SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox'),
            ('outbox_admin', 'EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox')) g (role, what)
    LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_grant.role);
        -- Roles are the cluster's: another database's owner may have made this one a member.
        CONTINUE WHEN EXISTS (SELECT FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
                               WHERE r.rolname = v_grant.what AND m.rolname = v_grant.role);
        BEGIN
            EXECUTE format('GRANT %s TO %I', v_grant.what, v_grant.role);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% was not granted to %: ask a DBA.', v_grant.what, v_grant.role;
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_worker') THEN
        -- What only an operator decides, under every signature.
        FOR v_grant IN
            SELECT p.oid::regprocedure AS what FROM pg_proc p
             WHERE p.pronamespace = 'outbox'::regnamespace
               AND p.proname IN ('set_bot', 'retry', 'discard', 'pause', 'resume', 'lift_suppression', 'forget', 'payload',
                                 'note_action', 'adopt', 'start_batch', 'stop_batch', 'step_batch', 'end_look', 'fail_batch',
                                 'lock_batch', 'make_indexes',
                                 'find_in_payloads', 'search_in_payloads', 'show_messages', 'match_messages')
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM outbox_worker', v_grant.what);
        END LOOP;
    END IF;
END $$;
