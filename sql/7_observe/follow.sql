-- Promise: messages that ended, in an order in which nothing is ever inserted behind a cursor: by transaction number,
-- and only below the oldest transaction still running. So no message is skipped because a transaction that began early
-- committed late; the price is that one open transaction anywhere in the cluster holds this back.
-- Locks: nothing.  Cost: one index probe per kept day, then the rows returned; whatever else is kept.
-- p_cursor: of the last row that was dealt with; NULL: from the beginning of what is kept. It is worth something only
-- in the database that gave it: any other has other transaction numbers, and would skip without a word.
-- An id may come twice: dead first, and sent after a retry.
-- A restored dump brings rows numbered by the server it came from. What it has that is beyond our own numbers comes
-- first (part 0 of the cursor); as our numbers pass them, they may come again.
CREATE OR REPLACE FUNCTION outbox.follow(p_cursor text, p_limit int DEFAULT 1000)
RETURNS TABLE (
    cursor text, id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text,
    correlation_id text, created_at timestamptz, scheduled_for timestamptz, finished_at timestamptz, attempts int,
    telegram_message_id bigint, telegram_answer jsonb, error_class text, error_text text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_epoch CONSTANT text := outbox.database_key();
    v_snapshot CONSTANT pg_snapshot := pg_current_snapshot();
    v_first CONSTANT xid8 := '0';
    v_part int := 0;
    v_xid xid8 := v_first;
    v_id bigint := 0;
    v_from xid8;
    v_below xid8;
    v_left int := p_limit;
    v_rows int;
    v_place text[];
BEGIN
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE EXCEPTION 'limit % is not a number of messages', coalesce(p_limit::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ask for 1 or more, such as 1000.';
    END IF;
    IF p_cursor IS NOT NULL THEN
        v_place := regexp_match(p_cursor, '^([0-9-]+):([01]):([0-9]{1,20}):([0-9]{1,19})$');
        IF v_place IS NULL THEN
            RAISE EXCEPTION '"%" is not a cursor of outbox.follow', left(p_cursor, 80)
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Pass a value of its column cursor, or NULL to begin with the oldest message kept.';
        END IF;
        v_part := v_place[2];
        v_xid := v_place[3]::xid8;
        v_id := v_place[4];
        IF v_place[1] <> v_epoch OR v_part = 1 AND v_xid >= pg_snapshot_xmax(v_snapshot) THEN
            RAISE EXCEPTION 'the cursor is not of this database: it was restored or copied since'
                USING ERRCODE = 'OB003',
                      HINT = 'Start over with NULL and leave out the ids that you have dealt with: they come again.';
        END IF;
    END IF;

    FOR v_now IN v_part .. 1 LOOP
        -- Own rows that this snapshot sees are below its xmax.
        v_from := CASE WHEN v_now = 0 THEN pg_snapshot_xmax(v_snapshot) ELSE v_first END;
        v_below := CASE WHEN v_now = 1 THEN pg_snapshot_xmin(v_snapshot) ELSE '18446744073709551615' END;
        RETURN QUERY
        SELECT concat_ws(':', v_epoch, v_now, e.xid, e.id), e.id, e.bot, e.chat_id::text, e.method, e.priority,
               e.status, e.tag, e.correlation_id, e.created_at, e.scheduled_for, e.finished_at, e.attempts, e.telegram_message_id,
               e.telegram_answer, e.error_class, e.error_text
          FROM ((SELECT f.xid, f.id, f.bot, f.chat_id, f.method, f.priority, f.status, f.tag, f.correlation_id,
                        f.created_at, f.scheduled_for, f.finished_at, f.attempts, f.telegram_message_id, f.telegram_answer,
                        f.error_class, f.error_text
                   FROM outbox.finished f
                  WHERE (f.xid, f.id) > (v_xid, v_id) AND f.xid >= v_from AND f.xid < v_below
                  ORDER BY f.xid, f.id LIMIT v_left)
                UNION ALL
                (SELECT d.xid, d.id, d.bot, d.chat_id, d.method, d.priority, d.status, d.tag, d.correlation_id,
                        d.created_at, d.scheduled_for, d.died_at, d.attempts, NULL, NULL, d.error_class, d.error_text
                   FROM outbox.dead_letter d
                  WHERE (d.xid, d.id) > (v_xid, v_id) AND d.xid >= v_from AND d.xid < v_below
                  ORDER BY d.xid, d.id LIMIT v_left)) e
         ORDER BY e.xid, e.id LIMIT v_left;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_left := v_left - v_rows;
        EXIT WHEN v_left = 0;
        v_xid := v_first;
        v_id := 0;
    END LOOP;
END $$;
COMMENT ON FUNCTION outbox.follow IS
    'Messages that ended after p_cursor, in commit-safe order; keep the cursor of the last row you dealt with, in the same transaction. NULL: from the oldest kept. An id may come twice: dead, later sent.';

-- Promise: a cursor behind everything that has ended by now: what follow returns after it is new.
-- Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.follow_from_now() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat_ws(':', outbox.database_key(), 1, pg_snapshot_xmin(pg_current_snapshot())::text::numeric - 1,
                     9223372036854775807)
$$;
COMMENT ON FUNCTION outbox.follow_from_now IS 'A cursor for outbox.follow that skips what has ended so far.';
