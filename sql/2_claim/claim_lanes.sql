-- Promise: claim for one bot: settles, takes slots, puts one message of each chosen lane in flight (I2).
-- Locks, in order: bucket, wakeups, chats; all SKIP LOCKED.  Cost: see claim.
-- p_priorities: those at which wakeups are due; what comes due at others meanwhile is for the next claim.
-- settled: the settlements were applied. slot_at NULL: send at once, there is no limit or the method is free.
-- without_paid_broadcast: the bot may not use it, the flag is to be left out. ask_again_s: see claim.
CREATE OR REPLACE FUNCTION outbox.claim_lanes(
    p_worker bigint, p_bot text, p_n int, p_settlements jsonb, p_priorities smallint[], p_now timestamptz,
    p_may_end int, p_most_bytes int, p_is_first boolean,
    OUT lanes outbox.lane[], OUT slot bigint[], OUT slot_at timestamptz[], OUT ended int, OUT settled boolean,
    OUT ask_again_s float8, OUT without_paid_broadcast boolean)
LANGUAGE plpgsql AS $$
DECLARE
    o outbox.bot;
    b outbox.bucket;
    v_as_found outbox.bucket;
    v_offer record;
    v_match record;
    v_taken record;
    v_cleared text[] := '{}';
    v_until timestamptz;
    v_allowed int;
    v_most int;
    v_most_here int;
    v_priority smallint;
    v_reserved int[] := '{0,0,0}';
    v_parts int;
    v_given int := 0;
    v_last int;
    v_last_at timestamptz;
    v_token int[] := '{}';
    v_used_at timestamptz[] := '{}';
    v_number bigint[] := '{}';
    v_next_s float8;
BEGIN
    lanes := '{}';
    slot := '{}';
    slot_at := '{}';
    ended := 0;
    settled := false;
    SELECT * INTO o FROM outbox.bot x WHERE x.bot = p_bot;
    SELECT * INTO b FROM outbox.bucket x WHERE x.bot = p_bot FOR UPDATE SKIP LOCKED;
    IF o.bot IS NULL THEN
        settled := true;  -- the bot is gone: nobody needs its settlements
        RETURN;
    END IF;
    IF b.bot IS NULL THEN
        ask_again_s := 0.002 + 0.006 * random();
        RETURN;
    END IF;
    v_as_found := b;
    b := outbox.follow_clock_back(b, o.rate_window_s, p_now);
    IF p_worker <> ALL (b.known_workers) THEN
        b := outbox.forget_round_trip(b);
        b.known_workers := (p_worker || b.known_workers)[:100];
    END IF;
    IF b.breaker = 'open' THEN
        b := outbox.half_open_breaker(b, o.breaker_open_max_s, p_now);
    END IF;
    IF p_settlements <> '[]' THEN
        b := outbox.settle(b, o.rate_window_s, p_settlements);
        b := outbox.weigh_answers(b, o, p_settlements, p_now);
    END IF;
    IF b.active_tokens > 0 AND b.active_tokens < outbox.whole_rate(b, o.rate) THEN
        b := outbox.raise_rate(b, o, p_now);
    END IF;
    settled := true;
    without_paid_broadcast := o.paid_broadcast_refused_at IS NOT NULL;

    v_allowed := outbox.slots_allowed(b, o.breaker_probes, p_now);
    v_offer := outbox.offer_slots_until(b, o.rate, o.rate_window_s, p_now, least(p_n, v_allowed), interval '100 ms');
    v_most := cardinality(v_offer.slot_at);
    v_until := v_offer.slot_at[v_most];

    -- The reserve takes its lanes first, so that strict order cannot fill their places.
    FOR v_ten IN b.last_slot / 10 + 1 .. (b.last_slot + v_most) / 10 LOOP
        v_reserved[1 + v_ten % 3] := v_reserved[1 + v_ten % 3] + 1;
    END LOOP;
    FOR v_turn IN 1 .. 7 LOOP
        v_priority := CASE WHEN v_turn <= 3 THEN v_turn ELSE v_turn - 4 END;
        CONTINUE WHEN v_priority <> ALL (p_priorities);
        v_most_here := CASE WHEN v_turn <= 3 THEN v_reserved[v_turn] ELSE v_most END;
        v_most_here := least(v_most_here, v_most - cardinality(lanes));
        CONTINUE WHEN v_most_here <= 0;
        v_taken := outbox.take_wakeups(
            p_bot, v_priority, v_most_here, p_now, v_until,
            ARRAY(SELECT l.chat_id FROM unnest(lanes) l), v_cleared, p_may_end - ended);
        lanes := lanes || v_taken.lanes;
        v_cleared := v_cleared || v_taken.cleared;
        ended := ended + v_taken.ended;
    END LOOP;

    IF lanes <> '{}' THEN
        SELECT array_agg(ROW(l.chat_id, l.message_id, l.priority, l.attempt, l.bytes, l.may_go_at, l.cost)::outbox.lane
                         ORDER BY l.priority, l.place), max(l.cost)
          INTO lanes, v_parts
          FROM unnest(lanes) WITH ORDINALITY l (chat_id, message_id, priority, attempt, bytes, may_go_at, cost, place);
        IF v_parts > 1 AND o.rate IS NOT NULL THEN
            -- An album begins within the horizon and may end beyond it.
            v_offer := outbox.offer_slots_until(b, o.rate, o.rate_window_s, p_now, v_most + v_parts, greatest(interval '1 hour', make_interval(secs => 3 + 2.1 * o.rate_window_s)));
        END IF;
        v_match := outbox.assign_slots(
            b.last_slot, v_offer.slot_at, v_most, lanes,
            CASE WHEN o.rate IS NULL THEN 1 WHEN cardinality(b.free_at) = 0 THEN o.rate ELSE b.active_tokens END,
            p_most_bytes, p_is_first);
        -- Looked at again: a better message may have come, and its wakeup was dropped because the lane was taken.
        PERFORM outbox.file_wakeups(p_bot, array_agg(lanes[i].chat_id), array_agg(least(h.priority, lanes[i].priority)),
                                    array_agg(CASE WHEN h.priority < lanes[i].priority THEN p_now
                                                   ELSE greatest(lanes[i].may_go_at, p_now) END))
           FROM unnest(v_match.left_over) i
           LEFT JOIN LATERAL outbox.head_of_lane(lanes[i].chat_id, p_bot, p_now) h ON true HAVING count(*) > 0;
        SELECT coalesce(array_agg(lanes[g.lane] ORDER BY g.place), '{}'),
               coalesce(array_agg(v_offer.slot_at[g.slot] ORDER BY g.place), '{}'),
               coalesce(array_agg(g.number ORDER BY g.place), '{}'),
               coalesce(array_agg(v_offer.token[g.slot] ORDER BY g.place) FILTER (WHERE g.slot > 0), '{}'),
               coalesce(array_agg(v_offer.slot_at[g.slot] ORDER BY g.place) FILTER (WHERE g.slot > 0), '{}'),
               coalesce(array_agg(g.number ORDER BY g.place) FILTER (WHERE g.slot > 0), '{}')
          INTO lanes, slot_at, slot, v_token, v_used_at, v_number
          FROM (SELECT u.lane, u.slot, u.place, CASE WHEN u.slot > 0 THEN
                       b.last_slot + count(*) FILTER (WHERE u.slot > 0) OVER (ORDER BY u.place) END AS number
                  FROM unnest(v_match.given, v_match.given_slot) WITH ORDINALITY u (lane, slot, place)) g;
        v_given := cardinality(v_number);
        v_last_at := v_used_at[v_given];
        IF b.reply_run > 0 AND v_given > 0 THEN
            -- Slots that replies left, and others: then it needs no more of the former (acquire).
            v_last := (SELECT max(m) FROM unnest(v_match.given_slot) m);
            b.reply_run := CASE WHEN v_last > cardinality(b.kept_at) THEN 0 ELSE b.reply_run END;
            b.kept_at := b.kept_at[v_last + 1:];
        END IF;
        IF v_parts > 1 AND v_given > 0 THEN
            -- An album's tokens, all under its number and at its time.
            SELECT array_agg(v_offer.token[t] ORDER BY t), array_agg(v_offer.slot_at[u.last] ORDER BY t),
                   array_agg(slot[u.place] ORDER BY t)
              INTO v_token, v_used_at, v_number
              FROM unnest(v_match.given_from, v_match.given_slot) WITH ORDINALITY u (first, last, place)
             CROSS JOIN LATERAL generate_series(u.first, u.last) t WHERE u.last > 0;
        END IF;

        UPDATE outbox.chat c
           SET in_flight = u.message_id, worker = p_worker, attempt = u.attempt, claimed_at = p_now
          FROM unnest(lanes) u
         CROSS JOIN LATERAL (SELECT k.ctid FROM outbox.chat k WHERE k.chat_id = u.chat_id AND k.bot = p_bot LIMIT 1) k
         WHERE c.ctid = k.ctid;
    END IF;

    IF v_given > 0 OR b.breaker = 'half_open' AND lanes <> '{}' OR b IS DISTINCT FROM v_as_found THEN
        PERFORM outbox.take_slots(b, o.rate, o.rate_window_s, v_token, v_used_at, v_number, v_given,
                                  cardinality(lanes), v_last_at);
        IF (b.breaker, b.breaker_until) IS DISTINCT FROM (v_as_found.breaker, v_as_found.breaker_until) THEN
            PERFORM outbox.record_breaker_change(b, p_now);
        END IF;
    END IF;

    IF o.rate IS NULL THEN
        slot_at := array_fill(NULL::timestamptz, ARRAY[cardinality(slot)]);
        slot := array_fill(NULL::bigint, ARRAY[cardinality(slot)]);
    END IF;

    -- When to ask again: at once while there is more to take; when half the horizon is free while slots are the bound;
    -- else when the next wakeup comes due.
    IF b.stopped OR b.unauthorised OR p_n = 0 THEN
        ask_again_s := NULL;
    ELSIF b.paused_until > p_now THEN
        ask_again_s := extract(epoch FROM b.paused_until - p_now);
    ELSIF b.breaker = 'open' THEN
        ask_again_s := extract(epoch FROM b.breaker_until - p_now);
    ELSIF v_allowed = 0 THEN
        ask_again_s := 0.05;
    ELSIF cardinality(slot) < v_most THEN
        SELECT extract(epoch FROM min(w.due_at) - p_now) INTO ask_again_s
          FROM generate_series(0, 3) p (priority)
         CROSS JOIN LATERAL (SELECT w.due_at FROM outbox.wakeup w
                              WHERE w.bot = p_bot AND w.priority = p.priority::smallint ORDER BY w.due_at LIMIT 1) w;
        -- greatest() would turn NULL, nothing known to wait for, into a call at once.
        ask_again_s := CASE WHEN ask_again_s < 0.001 THEN 0.001 ELSE ask_again_s END;
    ELSIF v_most = p_n THEN
        ask_again_s := 0;
    ELSE
        v_next_s := extract(epoch FROM v_offer.next_at - p_now);
        -- An answer that another worker settles frees a token sooner than planned: look in at half the horizon, and
        -- more rarely where the next slot is further away than any answer could be.
        ask_again_s := greatest(0.004, least(v_next_s - 0.05, CASE WHEN v_next_s < 2.5 THEN 0.05 ELSE v_next_s / 4 END))
                       * (0.85 + 0.3 * random());
    END IF;
END $$;
COMMENT ON FUNCTION outbox.claim_lanes IS 'Claim for one bot. Part of claim.';
