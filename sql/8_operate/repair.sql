-- Promise: lanes with a message whose time has come and no wakeup for it, per bot, arrays in step.
-- Locks: nothing.  Cost: reads what is due, every wakeup and every chat, twice. Hashed, whatever the statistics say: nested
-- loops over 40,000 chats without an index on wakeup take minutes (measured).
CREATE OR REPLACE FUNCTION outbox.missing_wakeups(
    OUT bot text, OUT chat_ids text[], OUT priorities smallint[], OUT missing bigint) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET work_mem = '64MB' SET jit = off SET enable_nestloop = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT x.bot, array_agg(x.chat_id) AS chat_ids, array_agg(x.priority) AS priorities, count(*) AS missing
      FROM (SELECT DISTINCT m.bot, m.chat_id, m.priority
              -- Read after this statement's snapshot: whatever it sees was filed before.
              FROM (SELECT outbox.clock() AS now OFFSET 0) t
             CROSS JOIN outbox.message m
              LEFT JOIN outbox.chat c ON c.chat_id = m.chat_id AND c.bot = m.bot
             WHERE m.next_attempt_at <= t.now AND c.in_flight IS NULL
               AND NOT EXISTS (SELECT FROM outbox.wakeup w
                                WHERE w.chat_id = m.chat_id AND w.bot = m.bot AND w.priority <= m.priority
                                  -- 10 ms: a lane that someone held is looked at a few ms later.
                                  AND w.due_at <= greatest(t.now, m.created_at, outbox.lane_waits_until(c, m.priority))
                                                  + interval '10 ms')) x
     GROUP BY x.bot;
END $$;
COMMENT ON FUNCTION outbox.missing_wakeups IS 'Lanes that nobody would look at. Part of repair.';

-- Promise: every message whose time has come has a wakeup, or its lane is in flight for a living worker (I1): files what
-- is missing, frees lanes of ended workers, counts both in housekeeping and returns the count. Above 0 means a bug, or
-- rows changed by hand.
-- Locks: its own rows of housekeeping and finding, lanes of ended workers; wakeups are only appended.
-- Cost: reads what is due, every wakeup and every chat, once.
-- One snapshot is exact: claim takes a wakeup and puts the lane in flight in one transaction, complete ends the flight and
-- files the follow-up in one.
CREATE OR REPLACE FUNCTION outbox.repair() RETURNS bigint
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    v_now timestamptz := outbox.clock();
    v_repaired bigint := 0;
    v_ended bigint[];
    v_worker bigint;
    r record;
BEGIN
    v_ended := ARRAY(SELECT DISTINCT c.worker FROM outbox.chat c
                      WHERE c.in_flight IS NOT NULL
                        AND NOT EXISTS (SELECT FROM outbox.worker w WHERE w.id = c.worker AND w.ended_at IS NULL));
    IF v_ended <> '{}' THEN
        PERFORM FROM outbox.chat c WHERE c.worker = ANY (v_ended) ORDER BY c.chat_id, c.bot FOR UPDATE;
        FOREACH v_worker IN ARRAY v_ended LOOP
            v_repaired := v_repaired + outbox.release_worker(v_worker, 'the worker had ended');
        END LOOP;
    END IF;
    FOR r IN
        SELECT * FROM outbox.missing_wakeups()
    LOOP
        PERFORM outbox.file_wakeups(r.bot, r.chat_ids, r.priorities, array_fill(v_now, ARRAY[r.missing::int]));
        v_repaired := v_repaired + r.missing;
    END LOOP;
    IF v_repaired > 0 THEN
        INSERT INTO outbox.housekeeping AS h (duty, wakeups_repaired) VALUES ('repair', v_repaired)
        ON CONFLICT (duty) DO UPDATE SET wakeups_repaired = h.wakeups_repaired + excluded.wakeups_repaired;
        INSERT INTO outbox.finding AS f (name, found, at) VALUES ('wakeups_repaired', v_repaired, v_now)
        ON CONFLICT (name) DO UPDATE SET found = f.found + excluded.found, at = excluded.at;
    END IF;
    INSERT INTO outbox.finding AS f (name, found, at)
    SELECT 'lanes_without_worker', count(*), v_now
      FROM outbox.chat c
      LEFT JOIN outbox.worker w ON w.id = c.worker
     -- For longer than it takes others to free them.
     WHERE c.in_flight IS NOT NULL AND coalesce(outbox.lease_ends_at(w.lease_until), '-infinity') < v_now - interval '2 min'
    ON CONFLICT (name) DO UPDATE SET found = excluded.found, at = excluded.at;
    RETURN v_repaired;
END $$;
COMMENT ON FUNCTION outbox.repair IS 'Files missing wakeups, frees lanes of ended workers, returns how many; above 0 means a bug.';
