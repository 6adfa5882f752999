-- Promise: what was cancelled ends also where no claim comes by: scheduled messages, bots that are paused or have no worker;
-- at most p_most messages per call, or else the lanes that they need are made. What it leaves behind is dropped: requests whose message has ended, cancelled tags of
-- which nothing waits any more, watches that ran out. Returns how much it did: call again until 0.
-- Locks: where lanes are missing, buckets; else chats by (chat_id, bot); all SKIP LOCKED.
-- Cost: O(1) per message ended, and a probe per cancelled tag; two looks at empty tables when nothing was cancelled.
CREATE OR REPLACE FUNCTION outbox.sweep(p_most int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off AS $$
DECLARE
    v_now timestamptz := outbox.clock();
    v_ids bigint[];
    v_endings outbox.ending[];
    v_bots text[];
    v_made int;
    v_held record;
BEGIN
    SELECT array_agg(DISTINCT c.id) INTO v_ids
      FROM ((SELECT m.id
               FROM outbox.request q
              CROSS JOIN LATERAL (SELECT m.id FROM outbox.message m WHERE m.id = q.message_id LIMIT 1) m
              ORDER BY q.id LIMIT p_most)
            UNION ALL
            (SELECT m.id
               FROM outbox.stop s
              CROSS JOIN LATERAL (SELECT m.id FROM outbox.message m
                                   -- So that no statistics lead to another index than message_tag.
                                   WHERE m.tag = s.tag AND (m.tag, m.id) <= (s.tag, s.up_to_id)
                                     AND coalesce(m.bot = s.bot, true) LIMIT p_most) m
              LIMIT p_most)) c;
    IF v_ids IS NOT NULL THEN
        v_bots := ARRAY(
            SELECT DISTINCT m.bot
              FROM unnest(v_ids) u
             CROSS JOIN LATERAL (SELECT m.chat_id, m.bot FROM outbox.message m WHERE m.id = u LIMIT 1) m
             WHERE (SELECT true FROM outbox.chat k WHERE k.chat_id = m.chat_id AND k.bot = m.bot LIMIT 1) IS NULL);
        IF v_bots <> '{}' THEN
            -- Whoever makes rows of chat holds the bucket (I3): claim and this would wait for each other's in a circle.
            v_bots := ARRAY(SELECT b.bot FROM outbox.bucket b WHERE b.bot = ANY (v_bots) ORDER BY b.bot
                               FOR UPDATE SKIP LOCKED);
            INSERT INTO outbox.chat (chat_id, bot)
            SELECT DISTINCT m.chat_id, m.bot
              FROM unnest(v_ids) u
             CROSS JOIN LATERAL (SELECT m.chat_id, m.bot FROM outbox.message m WHERE m.id = u LIMIT 1) m
             WHERE m.bot = ANY (v_bots)
               AND (SELECT true FROM outbox.chat k WHERE k.chat_id = m.chat_id AND k.bot = m.bot LIMIT 1) IS NULL
             ORDER BY 1, 2
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS v_made = ROW_COUNT;
            -- The bucket is given back at once: the next call ends what waits there.
            IF v_made > 0 THEN
                RETURN v_made;
            END IF;
        END IF;
        SELECT array_agg(c.id) AS ids, array_agg(c.chat_id) AS chat_ids, array_agg(c.bot) AS bots
          INTO v_held
          FROM (SELECT u AS id, m.chat_id, m.bot
                  FROM unnest(v_ids) u
                 CROSS JOIN LATERAL (SELECT m.chat_id, m.bot FROM outbox.message m WHERE m.id = u LIMIT 1) m
                 ORDER BY 2, 3) c
         CROSS JOIN LATERAL (SELECT FROM outbox.chat k
                              WHERE k.chat_id = c.chat_id AND k.bot = c.bot FOR UPDATE SKIP LOCKED) k;
        -- Look after you lock (I3).
        v_endings := ARRAY(
            SELECT ROW(m.id, 'cancelled', m.attempts, m.calls, NULL, 'cancelled', w.why, NULL, NULL)::outbox.ending
              FROM unnest(v_held.ids, v_held.chat_ids, v_held.bots) u (id, chat_id, bot)
             -- What has moved to another chat since is for the next call.
             CROSS JOIN LATERAL (SELECT * FROM outbox.message m
                                  WHERE m.id = u.id AND m.chat_id = u.chat_id AND m.bot = u.bot LIMIT 1) m
             CROSS JOIN LATERAL (SELECT c.in_flight FROM outbox.chat c
                                  WHERE c.chat_id = m.chat_id AND c.bot = m.bot LIMIT 1) c
             CROSS JOIN LATERAL (
                SELECT coalesce((SELECT 'asked for by ' || q.requested_by FROM outbox.request q
                                  WHERE q.message_id = m.id LIMIT 1),
                                'its tag was cancelled') AS why) w
             WHERE c.in_flight IS NULL);
        PERFORM outbox.finish_messages(v_endings);
    END IF;

    DELETE FROM outbox.request q
     WHERE q.ctid = ANY (ARRAY(
        SELECT k.ctid FROM outbox.request k
         WHERE (SELECT true FROM outbox.message m WHERE m.id = k.message_id LIMIT 1) IS NULL LIMIT p_most FOR UPDATE SKIP LOCKED));
    -- A number of our own: whoever took an id that the tag covers has a smaller one. That of the cancel's transaction may be
    -- older than theirs.
    UPDATE outbox.stop s SET xid = pg_current_xact_id() WHERE s.xid IS NULL;
    DELETE FROM outbox.stop s
     -- All of those have committed by then, or never will; a minute, because the id is taken a moment before the
     -- transaction has a number; a day, because a restored dump's numbers may lie ahead.
     WHERE (s.xid < pg_snapshot_xmin(pg_current_snapshot()) AND s.requested_at < v_now - interval '1 min'
            OR s.requested_at < v_now - interval '1 day')
       AND (SELECT true FROM outbox.message m
             WHERE m.tag = s.tag AND (m.tag, m.id) <= (s.tag, s.up_to_id) AND coalesce(m.bot = s.bot, true)
             LIMIT 1) IS NULL;
    DELETE FROM outbox.watch w
     WHERE w.ctid = ANY (ARRAY(SELECT k.ctid FROM outbox.watch k WHERE k.until < v_now ORDER BY k.until LIMIT 10000
                                  FOR UPDATE SKIP LOCKED));
    RETURN coalesce(cardinality(v_endings), 0);
END $$;
COMMENT ON FUNCTION outbox.sweep IS
    'Ends cancelled messages in chats that no claim looks at, and drops what cancels and watches left; call again until 0. For housekeeping.';
