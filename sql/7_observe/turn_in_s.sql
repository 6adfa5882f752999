-- Promise: in how many seconds a message has its turn: strict priority, with every tenth slot offered first to one of
-- the priorities 1, 2 and 3 in rotation, as assign_slots does it. NULL: never, as things are.
-- Locks: nothing.  Cost: arithmetic.
-- p_per_s: slots a second. p_ahead: turns ahead of it at its own priority. p_better: messages of better priorities
-- that take every slot; p_beside: those that take only p_share of the slots, because few chats have them.
-- p_inflow_per_s: better ones that keep coming. p_worse: how many worse priorities have something, and so their part
-- of the reserve.
CREATE OR REPLACE FUNCTION outbox.turn_in_s(
    p_priority int, p_per_s float8, p_ahead float8, p_better float8, p_beside float8, p_share float8,
    p_inflow_per_s float8, p_worse int) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_reserve CONSTANT float8 := CASE WHEN p_priority > 0 THEN p_per_s / 30 ELSE 0 END;
    v_free CONSTANT float8 := p_per_s * (1 - p_worse / 30.0) - p_inflow_per_s;
    v_ahead float8 := p_ahead;
    v_s float8 := 0;
BEGIN
    IF p_per_s IS NULL THEN
        RETURN 0;  -- no limit
    ELSIF p_per_s <= 0 THEN
        RETURN NULL;
    END IF;
    IF p_better > 0 THEN
        -- Half a turn more: the reserve comes seldom, and on the average half of its time has passed.
        IF v_free <= v_reserve THEN
            RETURN (v_ahead + 0.5) / nullif(v_reserve, 0);
        END IF;
        v_s := p_better / (v_free - v_reserve);
        IF v_ahead + 0.5 < v_reserve * v_s THEN
            RETURN (v_ahead + 0.5) / v_reserve;
        END IF;
        v_ahead := v_ahead - v_reserve * v_s;
    END IF;
    -- What stands beside it slows it down, but only until all of that is sent.
    RETURN v_s + least(v_ahead / nullif(greatest(v_free - p_per_s * p_share, v_reserve), 0),
                       (v_ahead + p_beside) / nullif(greatest(v_free, v_reserve), 0));
END $$;
COMMENT ON FUNCTION outbox.turn_in_s IS
    'Seconds until a message has its turn behind a known backlog. Part of pressure and explain.';
