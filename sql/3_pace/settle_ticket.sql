-- Promise: how a reply with a ticket went: its tokens and its chat are free one window and one interval after the answer
-- instead of after the longest it could have taken; a 429 counts like one of the queue. A ticket settled before, run out or
-- never given: nothing happens.
-- Locks, each in a transaction of its own: the chat, waited for; the bucket, SKIP LOCKED, waited for 100 ms at most: then
-- its tokens free themselves a second later.  Cost: two transactions that write one row of chat, ticket and bucket.
-- p_age_s: since the answer came. p_result: ok: Telegram answered; fail: it did not, or said 5xx; flood: 429, with its
-- retry_after in p_retry_after_s; unsent: nothing was sent.
CREATE OR REPLACE PROCEDURE outbox.settle(
    p_ticket bigint, p_age_s float8 DEFAULT 0, p_result text DEFAULT 'ok', p_retry_after_s float8 DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    v_answered_at timestamptz;
    v_ticket outbox.ticket;
BEGIN
    CALL outbox.refuse_open_transaction('outbox.settle');
    PERFORM outbox.refuse_bad_settlement(p_result, p_retry_after_s);
    IF p_age_s IS NULL OR p_age_s NOT BETWEEN 0 AND 86400 THEN
        RAISE EXCEPTION 'an age of % s is none', coalesce(p_age_s::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Give the seconds since the answer came, 0 for just now.';
    END IF;
    v_answered_at := outbox.clock() - make_interval(secs => p_age_s);
    -- The chat first: what must not be lost when this session dies in between is a 429's wait.
    v_ticket := outbox.settle_lane(p_ticket, v_answered_at, p_result, p_retry_after_s);
    COMMIT;
    IF v_ticket.ticket IS NULL THEN
        RETURN;
    END IF;
    FOR i IN 1 .. 50 LOOP
        EXIT WHEN outbox.settle_slot(p_ticket, v_answered_at, p_result, p_retry_after_s);
        COMMIT;
        PERFORM pg_sleep(0.001 + 0.002 * random());
    END LOOP;
END $$;
COMMENT ON PROCEDURE outbox.settle(bigint, float8, text, float8) IS
    'How a reply with a ticket went: ok, fail, flood (with retry_after_s) or unsent, and how long ago. Commits by itself.';

-- Promise: what a reply's end is said to be is one of the four, and its wait a time.  Locks: nothing.  Cost: arithmetic.
-- Asked by each part and not only by settle: producers may call the parts.
CREATE OR REPLACE FUNCTION outbox.refuse_bad_settlement(p_result text, p_retry_after_s float8) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_result IS NULL OR p_result NOT IN ('ok', 'fail', 'flood', 'unsent') THEN
        RAISE EXCEPTION 'result "%" does not exist', coalesce(left(p_result, 80), 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Use ok, fail, flood or unsent.';
    END IF;
    IF NOT coalesce(p_retry_after_s BETWEEN 0 AND 31536000, true) THEN
        RAISE EXCEPTION 'a retry_after of % s is none', p_retry_after_s USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Give the seconds that Telegram told to wait.';
    END IF;
END $$;
COMMENT ON FUNCTION outbox.refuse_bad_settlement IS 'Refuses an end of a reply that does not exist. Part of settle.';

-- Promise: the chat of a ticket waits from the answer on. What moved its deadline later meanwhile stands (I9): only the
-- ticket's own is taken back. What waits in the lane has a wakeup for the new time (I1).
-- Locks, in order: ticket, chat; both waited for.  Cost: one HOT update, and a probe or some of the lane.
-- Returns the ticket; NULL: there is none.
CREATE OR REPLACE FUNCTION outbox.settle_lane(
    p_ticket bigint, p_answered_at timestamptz, p_result text, p_retry_after_s float8) RETURNS outbox.ticket
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_bound CONSTANT interval := '1 s';  -- A, the arrival bound: see offer_slots_until
    t outbox.ticket;
    o outbox.bot;
    c outbox.chat;
    v_answered_at timestamptz;
    v_sent_at timestamptz[];
    v_wait_until timestamptz;
BEGIN
    PERFORM outbox.refuse_bad_settlement(p_result, p_retry_after_s);
    SELECT * INTO t FROM outbox.ticket x WHERE x.ticket = p_ticket FOR UPDATE;
    SELECT * INTO o FROM outbox.bot x WHERE x.bot = t.bot;
    SELECT * INTO c FROM outbox.chat x WHERE x.chat_id = t.chat_id AND x.bot = t.bot FOR UPDATE;
    IF c.bot IS NULL OR o.bot IS NULL THEN
        RETURN t;
    END IF;
    -- No answer comes before its slot, whatever the caller's clock says.
    v_answered_at := greatest(least(p_answered_at, outbox.clock()), t.slot_at);
    IF p_result = 'flood' THEN
        v_wait_until := v_answered_at + coalesce(make_interval(secs => p_retry_after_s), outbox.backoff(t.bot, 1));
    END IF;
    -- Groups and channels: the time reckoned with gives way to the real one, or to none where nothing was accepted.
    IF c.group_sent_at IS NOT NULL THEN
        v_sent_at := ARRAY(SELECT CASE WHEN g.at = t.slot_at + v_bound THEN v_answered_at ELSE g.at END AS at
                             FROM unnest(c.group_sent_at) g (at)
                            WHERE p_result IN ('ok', 'fail') OR g.at <> t.slot_at + v_bound ORDER BY 1);
    END IF;
    UPDATE outbox.chat x
       SET next_send_at = greatest(
               CASE WHEN c.next_send_at = t.next_send_at THEN t.waited_until ELSE c.next_send_at END,
               CASE WHEN p_result <> 'unsent' THEN v_answered_at + make_interval(secs => o.chat_interval_s) END,
               CASE WHEN cardinality(v_sent_at) >= o.group_limit
                    THEN v_sent_at[cardinality(v_sent_at) - o.group_limit + 1]
                         + make_interval(secs => o.group_window_s) END,
               v_wait_until),
           group_sent_at = v_sent_at,
           last_sent_at = CASE WHEN p_result = 'ok' THEN greatest(c.last_sent_at, v_answered_at) ELSE c.last_sent_at END,
           replied_at = CASE WHEN p_result = 'ok' AND c.last_sent_at = c.replied_at
                             THEN greatest(c.last_sent_at, v_answered_at) ELSE c.replied_at END,
           -- There too: another ticket of this chat may be out, and takes back the other deadline when it is settled.
           backoff_until[1] = greatest(c.backoff_until[1], v_wait_until)
     WHERE x.chat_id = t.chat_id AND x.bot = t.bot;
    IF c.in_flight IS NULL THEN
        PERFORM outbox.file_follow_ups(
            ARRAY[jsonb_populate_record(NULL::outbox.result,
                      jsonb_build_object('bot', t.bot, 'chat_id', t.chat_id, 'owned', true))], outbox.clock());
    END IF;
    RETURN t;
END $$;
COMMENT ON FUNCTION outbox.settle_lane IS 'Takes the answer to a reply into its chat. Part of settle.';

-- Promise: the ticket is gone, and the bucket knows how it went. False: the bucket is somebody's just now, nothing happened.
-- Locks, in order: bucket, SKIP LOCKED; ticket.  Cost: one HOT update and one delete.
CREATE OR REPLACE FUNCTION outbox.settle_slot(
    p_ticket bigint, p_answered_at timestamptz, p_result text, p_retry_after_s float8) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    t outbox.ticket;
    o outbox.bot;
    b outbox.bucket;
    v_as_found outbox.bucket;
    v_given outbox.bucket;
    v_now timestamptz;
    v_settlements jsonb;
    v_answered_at timestamptz;
BEGIN
    PERFORM outbox.refuse_bad_settlement(p_result, p_retry_after_s);
    SELECT * INTO t FROM outbox.ticket x WHERE x.ticket = p_ticket;
    SELECT * INTO o FROM outbox.bot x WHERE x.bot = t.bot;
    SELECT * INTO b FROM outbox.bucket x WHERE x.bot = t.bot FOR UPDATE SKIP LOCKED;
    IF b.bot IS NULL AND o.bot IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Whoever deletes it settles it: an answer told twice is one. Nobody is waited for with the bucket in hand.
    DELETE FROM outbox.ticket x
     WHERE x.ticket = (SELECT k.ticket FROM outbox.ticket k WHERE k.ticket = p_ticket FOR UPDATE SKIP LOCKED);
    IF NOT FOUND OR o.bot IS NULL THEN
        RETURN true;
    END IF;
    v_answered_at := least(p_answered_at, outbox.clock());
    v_as_found := b;
    v_now := outbox.clock();
    v_settlements := jsonb_build_array(jsonb_build_object(
        'bot', t.bot, 'chat_id', t.chat_id, 'slot', t.slot, 'result', p_result, 'retry_after_s', p_retry_after_s,
        'age_s', extract(epoch FROM v_now - v_answered_at)));
    b := outbox.bring_bucket_forward(b, o, v_now);
    v_given := b;
    b := outbox.settle(b, o.rate_window_s, v_settlements);
    IF p_result <> 'unsent' THEN
        -- Nobody knows the bot's own round trip, which may be less than any worker's: one whole window after the answer,
        -- which no caller's clock brings before its slot. 0.5 ms: see settle.
        b.free_at := ARRAY(
            SELECT CASE WHEN f.used_by = t.slot
                        THEN least(f.given, greatest(v_answered_at, t.slot_at)
                                            + make_interval(secs => o.rate_window_s + 0.0005)) ELSE f.at END
              FROM unnest(b.free_at, v_given.free_at, v_given.used_by) WITH ORDINALITY f (at, given, used_by, i)
             ORDER BY f.i);
    END IF;
    b := outbox.weigh_answers(b, o, v_settlements, v_now);
    PERFORM outbox.take_slots(b, o.rate, o.rate_window_s, '{}', '{}', '{}', 0, 0, NULL);
    IF (b.breaker, b.breaker_until) IS DISTINCT FROM (v_as_found.breaker, v_as_found.breaker_until) THEN
        PERFORM outbox.record_breaker_change(b, v_now);
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION outbox.settle_slot IS 'Takes the answer to a reply into the bucket. Part of settle.';
