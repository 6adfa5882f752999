-- Promise: the j-th best lane gets the j-th slot, and a lane only a slot at which it may go; a slot whose number is
-- divisible by ten goes first to priority 1 + (number / 10) mod 3, the reserve against starvation, then in strict order.
-- Locks: nothing.  Cost: one pass over the lanes.
-- p_lanes: ordered by priority. given: for each slot taken, in order, the position of its lane; given_slot: that of the
-- slot in p_slot_at; left_over: positions of lanes that got none. p_most_bytes: of payload, for all
-- lanes together. p_is_first: the call has given nothing yet.
CREATE OR REPLACE FUNCTION outbox.assign_slots(
    p_last_slot bigint, p_slot_at timestamptz[], p_lanes outbox.lane[], p_most_bytes int, p_is_first boolean,
    OUT given int[], OUT given_slot int[], OUT left_over int[])
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_bytes int[];
    v_may_go_at timestamptz[];
    v_next int[];       -- per priority, the position of its first lane without a slot
    v_end int[];
    v_sum bigint := 0;
    v_number bigint;
    v_place int;
    v_lane int;
BEGIN
    given := '{}';
    given_slot := '{}';
    left_over := '{}';
    SELECT array_agg(l.bytes), array_agg(l.may_go_at), ARRAY[0, 0, 0, 0],
           ARRAY[count(*) FILTER (WHERE l.priority = 0), count(*) FILTER (WHERE l.priority <= 1),
                 count(*) FILTER (WHERE l.priority <= 2), count(*)]
      INTO v_bytes, v_may_go_at, v_next, v_end FROM unnest(p_lanes) l;
    v_next := ARRAY[1, v_end[1] + 1, v_end[2] + 1, v_end[3] + 1];

    <<slots>>
    FOR j IN 1 .. cardinality(p_slot_at) LOOP
        v_number := p_last_slot + cardinality(given) + 1;
        LOOP
            v_place := 2 + (v_number / 10) % 3;
            IF v_number % 10 <> 0 OR v_next[v_place] > v_end[v_place] THEN
                v_place := CASE WHEN v_next[1] <= v_end[1] THEN 1 WHEN v_next[2] <= v_end[2] THEN 2
                                WHEN v_next[3] <= v_end[3] THEN 3 WHEN v_next[4] <= v_end[4] THEN 4 END;
                EXIT slots WHEN v_place IS NULL;
            END IF;
            v_lane := v_next[v_place];
            EXIT WHEN v_may_go_at[v_lane] <= p_slot_at[j];
            v_next[v_place] := v_lane + 1;
            left_over := left_over || v_lane;
        END LOOP;
        v_sum := v_sum + v_bytes[v_lane];
        -- The first of the whole call always goes: nothing may block its bot by its size alone.
        EXIT WHEN v_sum > p_most_bytes AND (cardinality(given) > 0 OR NOT p_is_first);
        v_next[v_place] := v_lane + 1;
        given := given || v_lane;
        given_slot := given_slot || j;
    END LOOP;
    FOR v_place IN 1 .. 4 LOOP
        left_over := left_over || ARRAY(SELECT generate_series(v_next[v_place], v_end[v_place]));
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.assign_slots IS 'Matches lanes to offered slots: strict priority with the reserve. Part of claim.';
