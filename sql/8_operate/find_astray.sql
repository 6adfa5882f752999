-- Promise: messages of lately that are in no state, or in two (I8): of the calls for the newest p_most messages and the newest p_most
-- idempotency keys, those whose message is not in exactly one of message, dead_letter and finished. None: nothing was lost.
-- Locks: nothing.
-- Cost: p_most index probes of each table and of each kept day. One statement, so one snapshot: a message that moves
-- this moment is in one state.
CREATE OR REPLACE FUNCTION outbox.find_astray(p_most int DEFAULT 1000)
RETURNS TABLE (message_id bigint, states int, evidence text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    -- A key may outlive the history of its message, which is kept for 30 days.
    v_kept CONSTANT bigint := outbox.id_at(outbox.clock() - interval '25 days');
BEGIN
    RETURN QUERY
    SELECT x.message_id, x.states::int, x.evidence
      FROM (SELECT s.message_id, s.evidence,
                   (SELECT count(*) FROM outbox.message m WHERE m.id = s.message_id)
                   + (SELECT count(*) FROM outbox.dead_letter d WHERE d.id = s.message_id)
                   + (SELECT count(*) FROM outbox.finished f WHERE f.id = s.message_id) AS states
              FROM (SELECT l.message_id, min(l.evidence) AS evidence
                      FROM ((SELECT a.message_id, 'attempt' AS evidence FROM outbox.attempt a
                              ORDER BY a.message_id DESC LIMIT p_most)
                            UNION ALL
                            (SELECT i.message_id, 'idempotency key'
                               FROM (SELECT x.message_id FROM outbox.idempotency x ORDER BY x.expires_at DESC LIMIT p_most) i
                              WHERE i.message_id > v_kept)) l
                     GROUP BY l.message_id) s) x
     WHERE x.states <> 1;
END $$;
COMMENT ON FUNCTION outbox.find_astray IS
    'Messages that calls or idempotency keys know of and that are in no state, or in two: lost, or doubled. None is well.';

-- Promise: how many messages are astray is on record, for metrics and doctor; returns it.
-- Locks: its own row of finding.  Cost: see find_astray.
CREATE OR REPLACE FUNCTION outbox.count_astray() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_astray bigint := (SELECT count(*) FROM outbox.find_astray() a);
BEGIN
    INSERT INTO outbox.finding AS f (name, found, at) VALUES ('astray', v_astray, outbox.clock())
    ON CONFLICT (name) DO UPDATE SET found = excluded.found, at = excluded.at;
    RETURN v_astray;
END $$;
COMMENT ON FUNCTION outbox.count_astray IS 'Counts messages that are lost or doubled, into outbox.finding. For housekeeping.';
