-- Promise: the bot's least round trip, in seconds, of the last 10 to 20 minutes; 0 before 100 answers.
-- Locks: nothing.  Cost: arithmetic on a row in hand.
-- The bot's and not a worker's own: a near worker may use the token of a far one, and a far worker's R would bring its
-- arrival too early (simulated: 129-371 x 429 in 200 s).
CREATE OR REPLACE FUNCTION outbox.least_round_trip_s(b outbox.bucket) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN b.round_trip_answers[1] + b.round_trip_answers[2] >= 100
                THEN least(b.round_trip_s[1], b.round_trip_s[2]) ELSE 0 END
$$;
COMMENT ON FUNCTION outbox.least_round_trip_s IS
    'Least round trip of a bot, all workers together, in seconds; 0 before 100 answers.';

-- Promise: the bucket with its answers taken in: each frees its token earlier, never later, and only while the token is
-- still used by that slot number, so that a late or doubled settlement does nothing (I6).
-- Locks: nothing, the caller holds the bucket.  Cost: one look in the ring per settlement.
-- p_settlements: array of {slot, age_s, result, round_trip_s} of this bot; see claim. A slot may be null or 0: no token.
CREATE OR REPLACE FUNCTION outbox.settle(b outbox.bucket, p_window_s float8, p_settlements jsonb) RETURNS outbox.bucket
LANGUAGE plpgsql AS $$
DECLARE
    s record;
    v_now timestamptz := outbox.clock();
    v_token int;
    v_response_at timestamptz;
    v_bound_s CONSTANT float8 := 1;  -- A, the arrival bound: see offer_slots
BEGIN
    FOR s IN SELECT * FROM jsonb_to_recordset(p_settlements)
                 AS x (slot bigint, age_s float8, result text, round_trip_s float8) LOOP
        IF s.round_trip_s >= 0 THEN
            IF b.round_trip_since IS NULL OR b.round_trip_since NOT BETWEEN v_now - interval '10 min' AND v_now THEN
                -- Older than both cells: nothing of it counts any more.
                IF b.round_trip_since IS NULL OR b.round_trip_since NOT BETWEEN v_now - interval '20 min' AND v_now THEN
                    b.round_trip_s[1] := NULL;
                    b.round_trip_answers[1] := 0;
                END IF;
                b.round_trip_s := ARRAY[NULL, b.round_trip_s[1]];
                b.round_trip_answers := ARRAY[0, b.round_trip_answers[1]];
                b.round_trip_since := v_now;
            END IF;
            b.round_trip_s[1] := least(b.round_trip_s[1], s.round_trip_s);
            b.round_trip_answers[1] := b.round_trip_answers[1] + 1;
        END IF;

        CONTINUE WHEN s.slot IS NULL OR s.slot <= 0;
        -- An album used several tokens under one number.
        FOREACH v_token IN ARRAY array_positions(b.used_by, s.slot) LOOP
            IF s.result = 'unsent' THEN
                b.free_at[v_token] := b.free_at[v_token] - make_interval(secs => p_window_s + v_bound_s);
            ELSE
                -- 0.5 ms: timers and the wire are not exact; without it two arrivals could be a hair under one window apart.
                v_response_at := v_now - make_interval(secs => greatest(s.age_s, 0));
                b.free_at[v_token] := least(b.free_at[v_token], v_response_at
                    + make_interval(secs => p_window_s + 0.0005 - outbox.least_round_trip_s(b)));
            END IF;
            -- Answered for: a second settlement of this slot finds no token.
            b.used_by[v_token] := 0;
        END LOOP;
    END LOOP;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.settle(outbox.bucket, float8, jsonb) IS
    'Takes answers into a bucket row in hand: frees each token one window after its response, less the least round trip.';
