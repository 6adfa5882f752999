-- Promise: how many slots the bot's state lets a claim give: NULL: as many as there are; 0: none now.
-- Locks: nothing.  Cost: arithmetic on a row in hand.
-- Half-open gives p_probes at a time. 25 s: longer than any call lasts; a probe whose worker died is counted no longer.
CREATE OR REPLACE FUNCTION outbox.slots_allowed(b outbox.bucket, p_probes int, p_now timestamptz) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN b.stopped OR b.unauthorised OR b.paused_until > p_now OR b.breaker = 'open' THEN 0
                WHEN b.breaker = 'half_open' THEN
                    CASE WHEN b.probed_at BETWEEN p_now - interval '25 s' AND p_now
                         THEN greatest(p_probes - b.probes, 0) ELSE p_probes END
           END
$$;
COMMENT ON FUNCTION outbox.slots_allowed IS
    'How many slots stops, pauses and the breaker of a bucket row in hand allow now. NULL: no bound.';

-- Promise: counts of the last 30 s in six cells, or of the last 5 s in ten, moved on to the present: cells older than that
-- hold 0, the first is the running one.
-- Locks: nothing.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.move_cells(p_cells int[], p_steps int) RETURNS int[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_steps <= 0 THEN p_cells
                ELSE (array_fill(0, ARRAY[least(p_steps, cardinality(p_cells))]) || p_cells)[:cardinality(p_cells)] END
$$;
COMMENT ON FUNCTION outbox.move_cells IS 'Shifts rolling counts by so many cells. Part of weigh_answers.';

CREATE OR REPLACE FUNCTION outbox.sum_cells(p_cells int[]) RETURNS int
LANGUAGE sql IMMUTABLE AS $$ SELECT sum(c)::int FROM unnest(p_cells) c $$;
COMMENT ON FUNCTION outbox.sum_cells IS 'Sum of rolling counts. Part of weigh_answers.';

-- Promise: the breaker is half-open, and no probe has gone yet: only slots given from now on are probes.
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.begin_probing(b outbox.bucket) RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    b.breaker := 'half_open';
    b.breaker_until := NULL;
    b.probes := 0;
    b.probes_passed := 0;
    b.probes_refused := 0;
    b.probes_after := b.last_slot;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.begin_probing IS 'Makes a bucket''s breaker half-open. Part of claim.';

-- Promise: an open breaker whose time has passed is half-open: some probes may go.
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.half_open_breaker(b outbox.bucket, p_open_max_s float8, p_now timestamptz)
RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- A deadline further ahead than the longest was set before the clock stepped back (I5).
    IF b.breaker = 'open' AND (b.breaker_until > p_now
                               AND b.breaker_until <= p_now + make_interval(secs => p_open_max_s)) IS NOT TRUE THEN
        b := outbox.begin_probing(b);
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.half_open_breaker IS 'Lets probes go when a breaker was open for long enough. Part of claim.';

-- Promise: the breaker as these answers leave it. Closed: it opens on at least breaker_answers answers in 30 s of which the
-- breaker_failure_share failed ("failures"), or when at least ten chats were refused that made up that share ("refusals":
-- Telegram had such incidents for hours, TELEGRAM.md section 4). Half-open: one failed probe opens it again, for twice as
-- long up to breaker_open_max_s; breaker_probes that passed close it. After refusals as many refused ones open it again, if
-- no more passed; chats that were refused before do not count. Open: late answers are counted and decide nothing.
-- Locks: nothing, the caller holds the bucket.  Cost: arithmetic.
-- p_probes_*: answers to slots given since it is half-open.
CREATE OR REPLACE FUNCTION outbox.turn_breaker(
    b outbox.bucket, o outbox.bot, p_probes_back int, p_probes_passed int, p_probes_failed int, p_probes_refused int,
    p_now timestamptz) RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_answered int;
    v_reason text;
BEGIN
    IF b.breaker = 'open' THEN
        RETURN b;
    END IF;
    IF b.breaker = 'half_open' THEN
        b.probes := greatest(b.probes - p_probes_back, 0);
        -- Refused by a chat: Telegram lives, and only the brake wants to know more.
        b.probes_passed := b.probes_passed + p_probes_passed
                           + CASE WHEN b.breaker_reason = 'refusals' THEN 0 ELSE p_probes_refused END;
        b.probes_refused := b.probes_refused + p_probes_refused;
        IF b.breaker_reason <> 'flood' AND p_probes_failed > 0
           OR b.breaker_reason = 'refusals' AND b.probes_refused >= greatest(o.breaker_probes, b.probes_passed) THEN
            v_reason := b.breaker_reason;
        ELSIF b.probes_passed >= o.breaker_probes THEN
            b.breaker := 'closed';
            b.breaker_until := NULL;
            b.breaker_opened := 0;
            b.probes := 0;
            b.breaker_answered := '{0,0,0,0,0,0}';
            b.breaker_failed := '{0,0,0,0,0,0}';
            b.breaker_refused := '{0,0,0,0,0,0}';
            b.refused_chats := '{}';
            b.refused_at := '{}';
            RETURN b;
        END IF;
    END IF;
    -- After a flood it is half-open for want of tokens, and can still open as a closed one does.
    IF v_reason IS NULL AND (b.breaker = 'closed' OR b.breaker_reason = 'flood') THEN
        v_answered := outbox.sum_cells(b.breaker_answered);
        IF v_answered >= o.breaker_answers
           AND outbox.sum_cells(b.breaker_failed) >= o.breaker_failure_share * v_answered THEN
            v_reason := 'failures';
        ELSIF cardinality(b.refused_chats) >= 10
              AND outbox.sum_cells(b.breaker_refused) >= o.breaker_failure_share * v_answered THEN
            v_reason := 'refusals';
        END IF;
    END IF;
    IF v_reason IS NOT NULL THEN
        b.breaker := 'open';
        b.breaker_reason := v_reason;
        b.breaker_until := p_now + make_interval(secs => least(
            o.breaker_open_max_s, o.breaker_open_s * 2.0 ^ least(b.breaker_opened, 30)));
        b.breaker_opened := b.breaker_opened + 1;
        b.probes := 0;
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.turn_breaker IS 'Opens and closes a bucket''s circuit breaker by the answers. Part of claim.';

-- Promise: every change of a breaker is on record, with the counts of the last 30 s that led to it.
-- Locks: nothing.  Cost: one row per change.
CREATE OR REPLACE FUNCTION outbox.record_breaker_change(b outbox.bucket, p_now timestamptz) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.breaker_change (bot, at, breaker, reason, until, answered, failed, refused)
    VALUES (b.bot, p_now, b.breaker, b.breaker_reason, coalesce(b.breaker_until, CASE WHEN b.breaker = 'half_open'
            AND b.breaker_reason = 'flood' THEN b.paused_until END), outbox.sum_cells(b.breaker_answered),
            outbox.sum_cells(b.breaker_failed), outbox.sum_cells(b.breaker_refused))
$$;
COMMENT ON FUNCTION outbox.record_breaker_change IS 'Writes a change of a breaker into its history. Part of claim.';
