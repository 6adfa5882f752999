-- Promise: the bot exists, the chat could, the cost is one, and the chat has its row.
-- Locks: nothing; waits only for a transaction that is making the same row.  Cost: two probes.
CREATE OR REPLACE FUNCTION outbox.open_lane(p_bot text, p_chat_id text, p_cost int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM outbox.bot o WHERE o.bot = p_bot) THEN
        RAISE EXCEPTION 'bot "%" does not exist', coalesce(left(p_bot, 63), 'NULL') USING
            ERRCODE = 'foreign_key_violation', HINT = 'Use the name of a row in outbox.bot.';
    END IF;
    IF p_chat_id IS NULL OR lower(p_chat_id) !~ '^(-?[1-9][0-9]{0,18}|@[a-z][a-z0-9_]{2,63})$' THEN
        RAISE EXCEPTION 'chat_id "%" is neither a number nor a @name', coalesce(left(p_chat_id, 80), 'NULL') USING
            ERRCODE = 'check_violation', HINT = 'Give the chat''s number, such as 42 or -1001234567890, or its @name.';
    END IF;
    IF p_cost IS NULL OR p_cost NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'a cost of % is not one of 1 to 100', coalesce(p_cost::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value',
            HINT = 'Give the number of messages that the call makes. answerCallbackQuery needs no slot: just send it.';
    END IF;
    INSERT INTO outbox.chat (chat_id, bot)
    SELECT lower(p_chat_id), p_bot
     WHERE (SELECT true FROM outbox.chat c WHERE c.chat_id = lower(p_chat_id) AND c.bot = p_bot LIMIT 1) IS NULL
    ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION outbox.open_lane IS 'Checks what acquire was asked for and makes the chat''s row. Part of acquire.';

-- Promise: the bucket as it is now: what the clock alone changes, whoever looks.
-- Locks: nothing, the caller holds the bucket or only looks.  Cost: one pass over the ring.
CREATE OR REPLACE FUNCTION outbox.bring_bucket_forward(b outbox.bucket, o outbox.bot, p_now timestamptz)
RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    b := outbox.half_open_breaker(outbox.follow_clock_back(b, o.rate_window_s, p_now), o.breaker_open_max_s, p_now);
    IF b.active_tokens > 0 AND b.active_tokens < outbox.whole_rate(b, o.rate) THEN
        b := outbox.raise_rate(b, o, p_now);
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.bring_bucket_forward IS
    'A bucket row in hand as it is now: clock steps, half-open breaker, raised rate. Part of acquire and settle.';

-- Promise: the slot that a reply could have, with its tokens; or when to ask again.
-- Locks: nothing: it may look at rows in hand or at what others change meanwhile.  Cost: one sort of the ring.
-- slot_at NULL: none now. for_lane: because of its chat. ring_at: where the ring stands after it. kept_at: a slot before
-- it that is left to the queue.
CREATE OR REPLACE FUNCTION outbox.plan_reply(
    o outbox.bot, b outbox.bucket, c outbox.chat, p_cost int, p_now timestamptz,
    OUT slot_at timestamptz, OUT token int[], OUT ring_at timestamptz, OUT kept_at timestamptz, OUT ask_at timestamptz,
    OUT for_lane boolean)
LANGUAGE plpgsql AS $$
DECLARE
    -- A burst of replies is told its slots at once instead of asking for each; longer, and a bot could not change its mind.
    v_horizon CONSTANT interval := '2 s';
    v_cost CONSTANT int := CASE WHEN b.active_tokens > 0 THEN least(p_cost, b.active_tokens) ELSE p_cost END;
    v_may_go_at timestamptz;
    v_wait interval;
    v_offer record;
    v_first int;
    v_horizon_of_all interval;
BEGIN
    for_lane := false;
    IF outbox.slots_allowed(b, o.breaker_probes, p_now) = 0 THEN
        ask_at := CASE WHEN b.stopped OR b.unauthorised THEN p_now + interval '5 s'
                       ELSE greatest(b.paused_until, CASE WHEN b.breaker = 'open' THEN b.breaker_until END,
                                     p_now + interval '250 ms') END
                  + interval '100 ms' * random();
        RETURN;
    END IF;
    IF c.in_flight IS NOT NULL THEN
        for_lane := true;
        ask_at := p_now + interval '50 ms' + interval '50 ms' * random();
        RETURN;
    END IF;

    -- An album begins within the horizon and may end beyond it.
    v_horizon_of_all := greatest(interval '1 hour', make_interval(secs => 3 + 2.1 * o.rate_window_s));
    v_first := 1 + cardinality(b.kept_at);
    v_offer := outbox.offer_slots_until(b, o.rate, o.rate_window_s, p_now, v_first + v_cost, v_horizon_of_all);
    IF v_offer.slot_at[v_first] > p_now + interval '50 ms' AND outbox.is_turn_of_queue(b, p_now) THEN
        IF cardinality(b.free_at) = 0 THEN
            -- No token tells who may use which time: the queue takes it when its horizon, 100 ms, has reached it.
            ask_at := greatest(v_offer.slot_at[1] - interval '100 ms', p_now) + interval '5 ms' + interval '30 ms' * random();
            RETURN;
        END IF;
        kept_at := v_offer.slot_at[v_first];
        v_first := v_first + 1;
    END IF;
    token := v_offer.token[v_first : v_first + v_cost - 1];
    ring_at := v_offer.slot_at[v_first + v_cost - 1];
    IF ring_at IS NULL THEN
        ask_at := greatest(v_offer.next_at - v_horizon, p_now + interval '250 ms');
        RETURN;
    END IF;
    IF v_offer.slot_at[v_first] > p_now + v_horizon THEN
        -- Spread over half a second: with so much given ahead nothing is lost by it, and many ask.
        ask_at := v_offer.slot_at[v_first] - v_horizon + interval '50 ms' + interval '450 ms' * random();
        RETURN;
    END IF;
    -- The next token is free so late only because nobody has settled it yet; it will be A, 1 s, earlier. Given now, the
    -- time between would be lost to everybody.
    IF b.used_by[token[1]] <> 0
       AND v_offer.slot_at[v_first] > greatest(b.last_slot_at, p_now) + interval '150 ms'
                                      + make_interval(secs => 2 * o.rate_window_s / nullif(b.active_tokens, 0)) THEN
        ask_at := greatest(v_offer.slot_at[v_first] - interval '1.1 s', p_now + interval '30 ms')
                  + interval '50 ms' * random();
        RETURN;
    END IF;
    -- A worker's answer freed its token early by the workers' least round trip; the bot may be nearer than all of them.
    slot_at := greatest(ring_at, (SELECT max(b.free_at[t]) + make_interval(secs => outbox.least_round_trip_s(b))
                                    FROM unnest(token) t WHERE t > 0 AND b.used_by[t] = 0));

    -- A reply counts as critical. An album in a group waits until all of it fits.
    v_may_go_at := greatest(outbox.lane_waits_until(c, 0::smallint), outbox.group_waits_until(c, p_cost));
    IF v_may_go_at > slot_at THEN
        -- Not a later slot: what lies between would be lost to everybody.
        for_lane := true;
        v_wait := v_may_go_at - slot_at;
        -- More than an interval: perhaps for a reply on its way, whose answer will shorten it by up to A, 1 s.
        IF v_wait > make_interval(secs => o.chat_interval_s) THEN
            v_wait := greatest(v_wait - interval '1 s', interval '100 ms');
        END IF;
        ask_at := p_now + v_wait + interval '10 ms' * random();
        slot_at := NULL;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.plan_reply IS 'The slot a reply could have, or when to ask again. Part of acquire.';

-- Promise: whether the next slot is left to the queue, so that replies that never end do not stop it: after nine replies
-- while anything of it is due, after each one while a critical message is.
-- Locks: nothing.  Cost: at most four index probes.
-- Only a living worker makes it so: it takes such a slot once that is 100 ms away, the horizon of claim.
CREATE OR REPLACE FUNCTION outbox.is_turn_of_queue(b outbox.bucket, p_now timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT b.reply_run >= 1
       AND EXISTS (SELECT FROM generate_series(0, CASE WHEN b.reply_run >= 9 THEN 3 ELSE 0 END) p (priority)
                    CROSS JOIN LATERAL (SELECT FROM outbox.wakeup w
                                         WHERE w.bot = b.bot AND w.priority = p.priority::smallint AND w.due_at <= p_now
                                         LIMIT 1) w)
       AND EXISTS (SELECT FROM outbox.worker w
                    WHERE w.ended_at IS NULL AND b.bot = ANY (w.bots) AND w.lease_until > p_now)
$$;
COMMENT ON FUNCTION outbox.is_turn_of_queue IS
    'Whether the next slot is left to the queue rather than to a reply. Part of acquire.';

-- Promise: a ticket and its slot, and until it is settled the chat gets nothing else before the answer could be there: slot,
-- arrival bound and interval (I2, I6). Or when to ask again; the lane is kept for whoever was told so, but for the turn after
-- a reply, which is the queue's. Neither: the bucket is somebody's just now.
-- Locks, in order: bucket, chat; both SKIP LOCKED. Neither before it has seen a slot.
-- Cost: with a ticket one row of bucket, chat and ticket; without one at most the chat.
CREATE OR REPLACE FUNCTION outbox.give_ticket(
    p_bot text, p_chat_id text, p_cost int, OUT ticket bigint, OUT slot_at timestamptz, OUT ask_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    v_chat_id CONSTANT text := lower(p_chat_id);
    v_bound CONSTANT interval := '1 s';  -- A, the arrival bound: see offer_slots_until
    o outbox.bot;
    b outbox.bucket;
    v_as_found outbox.bucket;
    c outbox.chat;
    v_now timestamptz := outbox.clock();
    v_plan record;
    v_sent_at timestamptz[];
    v_next_at timestamptz;
BEGIN
    SELECT * INTO o FROM outbox.bot x WHERE x.bot = p_bot;
    SELECT * INTO b FROM outbox.bucket x WHERE x.bot = p_bot;
    SELECT * INTO c FROM outbox.chat x WHERE x.chat_id = v_chat_id AND x.bot = p_bot;
    v_as_found := b;
    b := outbox.bring_bucket_forward(b, o, v_now);
    v_plan := outbox.plan_reply(o, b, c, p_cost, v_now);
    -- A deadline from before the clock stepped back is for a look under the lock.
    IF v_plan.slot_at IS NULL AND coalesce(c.last_sent_at <= v_now + interval '1 s', true)
       AND b.free_at = v_as_found.free_at THEN
        ask_at := v_plan.ask_at;
        IF v_plan.for_lane AND coalesce(c.last_sent_at > c.replied_at, true) THEN
            PERFORM outbox.keep_lane(p_bot, v_chat_id, ask_at, v_now);
        ELSIF v_plan.for_lane AND EXISTS (SELECT FROM outbox.head_of_lane(v_chat_id, p_bot, v_now)) THEN
            ask_at := ask_at + interval '100 ms';
        END IF;
        RETURN;
    END IF;

    SELECT * INTO b FROM outbox.bucket x WHERE x.bot = p_bot FOR UPDATE SKIP LOCKED;
    IF b.bot IS NULL THEN
        RETURN;
    END IF;
    SELECT * INTO c FROM outbox.chat x WHERE x.chat_id = v_chat_id AND x.bot = p_bot FOR UPDATE SKIP LOCKED;
    v_as_found := b;
    v_now := outbox.clock();
    IF c.bot IS NULL THEN
        ask_at := v_now + interval '5 ms' + interval '10 ms' * random();
        RETURN;
    END IF;
    IF c.last_sent_at > v_now + interval '1 s' AND c.in_flight IS NULL THEN
        PERFORM outbox.pull_lanes_back(p_bot, ARRAY[v_chat_id], v_now);
        SELECT * INTO c FROM outbox.chat x WHERE x.chat_id = v_chat_id AND x.bot = p_bot;
    END IF;
    b := outbox.bring_bucket_forward(b, o, v_now);
    v_plan := outbox.plan_reply(o, b, c, p_cost, v_now);
    IF v_plan.slot_at IS NULL THEN
        IF b.free_at <> v_as_found.free_at THEN
            -- Followed the clock back: not again at each call, or its deadlines would move along with the time.
            PERFORM outbox.take_slots(b, o.rate, o.rate_window_s, '{}', '{}', '{}', 0, 0, NULL);
        END IF;
        ask_at := v_plan.ask_at;
        RETURN;
    END IF;

    slot_at := v_plan.slot_at;
    v_next_at := slot_at + v_bound + make_interval(secs => o.chat_interval_s);
    IF v_chat_id ~ '^[-@]' AND o.group_limit IS NOT NULL THEN
        v_sent_at := c.group_sent_at || array_fill(slot_at + v_bound, ARRAY[least(p_cost, o.group_limit)]);
        v_sent_at := v_sent_at[greatest(1, cardinality(v_sent_at) + 1 - o.group_limit):];
        IF cardinality(v_sent_at) >= o.group_limit THEN
            v_next_at := greatest(v_next_at, v_sent_at[1] + make_interval(secs => o.group_window_s));
        END IF;
    END IF;
    INSERT INTO outbox.ticket (bot, chat_id, slot, slot_at, waited_until, next_send_at, runs_out_at)
    VALUES (p_bot, v_chat_id, b.last_slot + 1, slot_at, c.next_send_at, v_next_at, slot_at + interval '1 hour')
    RETURNING outbox.ticket.ticket INTO give_ticket.ticket;
    UPDATE outbox.chat x
       SET next_send_at = v_next_at, group_sent_at = v_sent_at,
           -- The moment from which the deadline is reckoned if the clock steps back (I5); settle brings the answer's.
           last_sent_at = greatest(x.last_sent_at, v_now), replied_at = greatest(x.last_sent_at, v_now)
     WHERE x.chat_id = v_chat_id AND x.bot = p_bot;
    b.reply_run := CASE WHEN v_plan.kept_at IS NULL THEN b.reply_run ELSE 0 END + 1;
    IF v_plan.kept_at IS NOT NULL THEN
        b.kept_at := b.kept_at || v_plan.kept_at;
    END IF;
    PERFORM outbox.take_slots(
        b, o.rate, o.rate_window_s, v_plan.token, array_fill(slot_at, ARRAY[cardinality(v_plan.token)]),
        array_fill(b.last_slot + 1, ARRAY[cardinality(v_plan.token)]), 1, 1, v_plan.ring_at);
    IF (b.breaker, b.breaker_until) IS DISTINCT FROM (v_as_found.breaker, v_as_found.breaker_until) THEN
        PERFORM outbox.record_breaker_change(b, v_now);
    END IF;
END $$;
COMMENT ON FUNCTION outbox.give_ticket IS 'Gives a slot to a reply, or says when to ask again. Part of acquire.';

-- Promise: until a reply that was told to ask again has had the time to do so, its chat sends nothing that is not
-- critical: a wakeup brings the queue there at the very moment, and it would win every time.
-- Locks: the chat, SKIP LOCKED.  Cost: one HOT update.
CREATE OR REPLACE FUNCTION outbox.keep_lane(p_bot text, p_chat_id text, p_ask_at timestamptz, p_now timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_until CONSTANT timestamptz := p_ask_at + interval '250 ms';
BEGIN
    -- A wait of seconds is no turn to be kept.
    IF p_ask_at < p_now + interval '2 s' THEN
        PERFORM FROM outbox.chat c WHERE c.chat_id = p_chat_id AND c.bot = p_bot FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE outbox.chat c SET backoff_until[2] = v_until
             WHERE c.chat_id = p_chat_id AND c.bot = p_bot AND coalesce(c.backoff_until[2] < v_until, true);
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.keep_lane IS 'Keeps a chat''s turn for a reply that asks again. Part of acquire.';

-- Promise: tickets that ran out an hour ago and more do not pile up: the deadlines they set have long passed.
-- Locks: the tickets, SKIP LOCKED.  Cost: at most 200 rows; called once in 64 tickets.
CREATE OR REPLACE FUNCTION outbox.drop_tickets() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM outbox.ticket t
     WHERE t.ticket = ANY (ARRAY(SELECT x.ticket FROM outbox.ticket x ORDER BY x.ticket LIMIT 200 FOR UPDATE SKIP LOCKED))
       AND t.runs_out_at < outbox.clock()
$$;
COMMENT ON FUNCTION outbox.drop_tickets IS 'Forgets tickets that ran out. Part of acquire.';
