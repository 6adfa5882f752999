-- Promise: the j-th best lane gets the j-th slot, and a lane only a slot at which it may go; a slot whose number is
-- divisible by ten goes first to priority 1 + (number / 10) mod 3, the reserve against starvation, then in strict order.
-- A lane of cost N takes N slots in a row and is sent at the last of them; one of cost 0 takes none.
-- Locks: nothing.  Cost: one pass over the lanes.
-- p_slot_at: the slots offered, of which a lane may begin at the first p_most. p_lanes: ordered by priority. p_tokens: no
-- lane takes more slots than that. p_most_bytes: of payload, for all lanes together. p_is_first: the call has given nothing
-- yet.
-- given: for each lane taken, in order, its position; given_from, given_slot: the first and the last of its slots, 0 where
-- it takes none; left_over: positions of lanes that got none.
CREATE OR REPLACE FUNCTION outbox.assign_slots(
    p_last_slot bigint, p_slot_at timestamptz[], p_most int, p_lanes outbox.lane[], p_tokens int, p_most_bytes int,
    p_is_first boolean, OUT given int[], OUT given_from int[], OUT given_slot int[], OUT left_over int[])
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_bytes int[];
    v_cost int[];
    v_may_go_at timestamptz[];
    v_next int[];       -- per priority, the position of its first lane without a slot
    v_end int[];
    v_sum bigint := 0;
    v_number bigint := p_last_slot + 1;
    v_first int := 1;   -- the first slot not taken
    v_last int;         -- the last one that the lane looked at would take
    v_place int;
    v_lane int;
BEGIN
    given := '{}';
    given_from := '{}';
    given_slot := '{}';
    left_over := '{}';
    SELECT array_agg(l.bytes), array_agg(least(l.cost, p_tokens)), array_agg(l.may_go_at),
           ARRAY[count(*) FILTER (WHERE l.priority = 0), count(*) FILTER (WHERE l.priority <= 1),
                 count(*) FILTER (WHERE l.priority <= 2), count(*)]
      INTO v_bytes, v_cost, v_may_go_at, v_end FROM unnest(p_lanes) l;
    v_next := ARRAY[1, v_end[1] + 1, v_end[2] + 1, v_end[3] + 1];

    <<slots>>
    WHILE v_first <= p_most LOOP
        LOOP
            v_place := 2 + (v_number / 10) % 3;
            IF v_number % 10 <> 0 OR v_next[v_place] > v_end[v_place] THEN
                v_place := CASE WHEN v_next[1] <= v_end[1] THEN 1 WHEN v_next[2] <= v_end[2] THEN 2
                                WHEN v_next[3] <= v_end[3] THEN 3 WHEN v_next[4] <= v_end[4] THEN 4 END;
                EXIT slots WHEN v_place IS NULL;
            END IF;
            v_lane := v_next[v_place];
            v_last := v_first + v_cost[v_lane] - 1;
            -- An album that finds too few tokens ahead waits; others may go meanwhile.
            EXIT WHEN v_may_go_at[v_lane] <= p_slot_at[greatest(v_last, v_first)];
            v_next[v_place] := v_lane + 1;
            left_over := left_over || v_lane;
        END LOOP;
        v_sum := v_sum + v_bytes[v_lane];
        -- The first of the whole call always goes: nothing may block its bot by its size alone.
        EXIT WHEN v_sum > p_most_bytes AND (cardinality(given) > 0 OR NOT p_is_first);
        v_next[v_place] := v_lane + 1;
        given := given || v_lane;
        IF v_cost[v_lane] = 0 THEN
            given_from := given_from || 0;
            given_slot := given_slot || 0;
        ELSE
            given_from := given_from || v_first;
            given_slot := given_slot || v_last;
            v_first := v_last + 1;
            v_number := v_number + 1;
        END IF;
    END LOOP;
    FOR v_place IN 1 .. 4 LOOP
        left_over := left_over || ARRAY(SELECT generate_series(v_next[v_place], v_end[v_place]));
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.assign_slots IS 'Matches lanes to offered slots: strict priority with the reserve. Part of claim.';
