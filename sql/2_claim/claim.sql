-- Promise: lanes to send now, for many bots in one call: at most p_n, one message per chat (I2), each with its slot in the
-- database's clock (I5, I6); and when to ask again. Waits for nobody (I3).
-- Locks, in order: worker (key share), bucket, wakeups, chats; all SKIP LOCKED.
-- Cost: O(1) per message given, whatever waits (I10); a claim that finds nothing writes nothing.
-- p_settlements: array of {bot, slot, age_s, result, round_trip_s, chat_id, retry_after_s}; bring those again whose bot is
-- not in settled. slot NULL: it had none, and is brought for the breaker. p_n = 0: only settle. result: ok (answered,
-- whatever the answer) | fail (retry or uncertain) | flood (429) | refused (the chat, perhaps by Telegram's own fault) |
-- unauthorised (the bot token) | unsent (given back).
-- due_at: when it could go first, whatever the limits and earlier attempts: scheduled, or when it was written.
-- One row per message, then always a closing row without message_id: the clock, when to ask again (NULL: nothing known to
-- wait for) and the bots whose settlements were applied.
CREATE OR REPLACE FUNCTION outbox.claim(p_worker bigint, p_bots text[], p_n int, p_settlements jsonb)
RETURNS TABLE (
    bot text, chat_id text, message_id bigint, attempt int, method text, payload jsonb, priority smallint,
    on_uncertain text, correlation_id text, slot bigint, slot_at timestamptz, created_at timestamptz,
    clock_at timestamptz, ask_again_s float8, settled text[], due_at timestamptz)
LANGUAGE plpgsql
-- Plans must not depend on statistics (I10).
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := outbox.clock();
    v_left int := p_n;
    -- A claim that ends more holds its bucket for longer than a critical message should wait; the next one goes on.
    v_may_end int := 200;
    -- A frozen worker that does not read its answer holds the bucket: 1 MB, four times the largest payload.
    v_most_bytes int := 1048576;
    v_fenced boolean := p_n = 0;
    v_ask_s float8;
    v_settled text[] := '{}';
    v_bot record;
    v_claim record;
    v_due_left int;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'outbox.claim runs in READ COMMITTED only, not in %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it with autocommit and the default isolation level.';
    END IF;

    FOR v_bot IN
        SELECT coalesce(w.bot, s.bot) AS bot, coalesce(s.settlements, '[]') AS settlements,
               extract(epoch FROM w.due_at - v_now) AS due_in_s, coalesce(w.priorities, '{}') AS priorities,
               coalesce(w.due_at <= v_now, false) AND p_n > 0 AS due,
               coalesce(s.oldest_s > 0.25 OR p_n = 0, false) AS owes,
               count(*) FILTER (WHERE w.due_at <= v_now) OVER () AS due_bots
          FROM outbox.bots_with_work(p_bots, v_now) w
          FULL JOIN (SELECT j ->> 'bot' AS bot, jsonb_agg(j) AS settlements, max((j ->> 'age_s')::float8) AS oldest_s
                       FROM jsonb_array_elements(p_settlements) j GROUP BY 1) s ON s.bot = w.bot
         -- By lot, and each its share of what is left: a bot with much to send must not starve the others.
         ORDER BY coalesce(w.due_at <= v_now, false), random()
    LOOP
        IF NOT v_bot.due AND NOT v_bot.owes THEN
            v_ask_s := least(v_ask_s, v_bot.due_in_s);
            CONTINUE;
        END IF;
        IF v_left <= 0 AND NOT v_bot.owes THEN
            v_ask_s := 0;
            CONTINUE;
        END IF;
        IF NOT v_fenced THEN
            -- Fenced against the reaper: lanes put in flight for a reaped worker would wait for nobody.
            PERFORM FROM outbox.worker w WHERE w.id = p_worker AND w.ended_at IS NULL FOR KEY SHARE SKIP LOCKED;
            IF NOT FOUND THEN
                IF EXISTS (SELECT FROM outbox.worker w WHERE w.id = p_worker AND w.ended_at IS NULL) THEN
                    v_ask_s := 0.005;
                    EXIT;
                END IF;
                RAISE EXCEPTION 'worker % has lost its lease', p_worker
                    USING ERRCODE = 'OB001', HINT = 'Call outbox.register_worker and claim with the new id.';
            END IF;
            v_fenced := true;
        END IF;

        v_due_left := coalesce(v_due_left, v_bot.due_bots);
        v_claim := outbox.claim_lanes(p_worker, v_bot.bot,
                                      CASE WHEN v_bot.due THEN ceil(v_left::numeric / v_due_left)::int ELSE 0 END,
                                      v_bot.settlements, v_bot.priorities, v_now, v_may_end, v_most_bytes,
                                      v_left = p_n);
        v_left := v_left - cardinality(v_claim.lanes);
        v_due_left := v_due_left - v_bot.due::int;
        v_may_end := v_may_end - v_claim.ended;
        v_most_bytes := v_most_bytes - (SELECT coalesce(sum(l.bytes), 0) FROM unnest(v_claim.lanes) l);
        v_ask_s := least(v_ask_s, v_claim.ask_again_s, CASE WHEN NOT v_bot.due THEN v_bot.due_in_s END);
        IF v_claim.settled THEN
            v_settled := v_settled || v_bot.bot;
        END IF;
        RETURN QUERY
        SELECT m.bot, m.chat_id::text, m.id, l.attempt, m.method,
               CASE WHEN m.target_id IS NULL THEN p.payload
                    ELSE (SELECT outbox.aim_payload(m.method, p.payload, m.chat_id, t.telegram_message_id, t.message_ids)
                            FROM outbox.find_target(m.target_id, m.bot, m.chat_id) t)
               END, m.priority, m.on_uncertain, m.correlation_id,
               v_claim.slot[l.place], v_claim.slot_at[l.place], m.created_at,
               NULL::timestamptz, NULL::float8, NULL::text[], greatest(m.created_at, m.next_attempt_at)
          FROM unnest(v_claim.lanes) WITH ORDINALITY
               l (chat_id, message_id, priority, attempt, bytes, may_go_at, cost, place)
         CROSS JOIN LATERAL (SELECT * FROM outbox.message m WHERE m.id = l.message_id LIMIT 1) m
         CROSS JOIN LATERAL (SELECT CASE WHEN v_claim.without_paid_broadcast THEN m.payload - 'allow_paid_broadcast'
                                         ELSE m.payload END AS payload) p
         ORDER BY l.place;
    END LOOP;

    clock_at := outbox.clock();
    -- Reckoned from the end of this call: what came due meanwhile is due now.
    v_ask_s := v_ask_s - extract(epoch FROM clock_at - v_now);
    ask_again_s := CASE WHEN v_ask_s < 0 THEN 0 ELSE v_ask_s END;
    settled := v_settled;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION outbox.claim IS
    'Takes messages to send now with their slots; the closing row says when to ask again. For workers.';
