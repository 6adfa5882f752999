-- Promise: an operator's conditions as the object that is matched and audited; a call without any is refused, for it is
-- more likely a slip than a wish.  Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.dead_letter_filter(
    p_verb text, p_ids bigint[], p_bot text, p_class text, p_tag text, p_since timestamptz, p_until timestamptz,
    p_text text, p_status text, p_limit int) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_filter jsonb := jsonb_strip_nulls(jsonb_build_object(
        'ids', p_ids, 'bot', CASE WHEN p_bot IS NOT NULL THEN outbox.require_bot(p_bot) END, 'class', p_class,
        'tag', p_tag, 'since', p_since, 'until', p_until, 'text', nullif(p_text, ''), 'status', p_status));
BEGIN
    IF v_filter = '{}' THEN
        RAISE EXCEPTION 'nothing says which dead letters to %', p_verb USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Name ids or a condition: outbox.%s(42), outbox.%1$s(p_class => ''timeout''); every one: '
                          'outbox.%1$s(p_until => now()).', p_verb);
    END IF;
    IF p_status NOT IN ('dead', 'uncertain') THEN
        RAISE EXCEPTION 'a dead letter is never "%"', left(p_status, 80) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use dead or uncertain, or leave p_status out for both.';
    END IF;
    IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'p_limit % is no size for a batch', coalesce(p_limit::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 10000, and call again until it returns 0.';
    END IF;
    RETURN v_filter;
END $$;
COMMENT ON FUNCTION outbox.dead_letter_filter IS 'Checks and gathers the conditions of retry and discard.';

-- Promise: the oldest dead letters that meet every condition, at most p_limit, without those in p_except. since and
-- until are about the time of death; text is part of error_text, in any case.
-- Locks: nothing.  Cost: by ids one probe each; with bot and class what they have in that time; else a walk over the dead
-- letters of that time in order of age, until p_limit are found. Plans do not depend on statistics.
CREATE OR REPLACE FUNCTION outbox.match_dead_letters(
    p_filter jsonb, p_limit int, p_except bigint[], OUT id bigint, OUT chat_id text, OUT bot text) RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_incremental_sort = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_ids CONSTANT bigint[] := CASE WHEN p_filter ? 'ids'
        THEN ARRAY(SELECT DISTINCT i::bigint FROM jsonb_array_elements_text(p_filter -> 'ids') i) END;
    v_bot CONSTANT text := p_filter ->> 'bot';
    v_class CONSTANT text := p_filter ->> 'class';
    v_tag CONSTANT text := p_filter ->> 'tag';
    v_since CONSTANT timestamptz := coalesce((p_filter ->> 'since')::timestamptz, '-infinity');
    v_until CONSTANT timestamptz := coalesce((p_filter ->> 'until')::timestamptz, 'infinity');
    v_text CONSTANT text := p_filter ->> 'text';
    v_status CONSTANT text := p_filter ->> 'status';
BEGIN
    IF v_ids IS NOT NULL THEN
        RETURN QUERY
        SELECT d.id, d.chat_id::text, d.bot
          FROM unnest(v_ids) i (id)
         CROSS JOIN LATERAL (SELECT x.* FROM outbox.dead_letter x WHERE x.id = i.id LIMIT 1) d
         WHERE d.died_at >= v_since AND d.died_at < v_until AND d.id <> ALL (p_except)
           AND outbox.is_such_a_dead_letter(d, v_bot, v_class, v_tag, v_text, v_status)
         ORDER BY d.died_at, d.id LIMIT p_limit;
    ELSIF v_bot IS NOT NULL AND v_class IS NOT NULL THEN
        RETURN QUERY
        SELECT d.id, d.chat_id::text, d.bot
          FROM outbox.match_class_of_bot(v_bot, v_class, v_since, v_until, v_tag, v_text, v_status, p_limit, p_except) d;
    ELSE
        RETURN QUERY
        SELECT d.id, d.chat_id::text, d.bot
          FROM outbox.dead_letter d
         WHERE d.died_at >= v_since AND d.died_at < v_until AND d.id <> ALL (p_except)
           AND outbox.is_such_a_dead_letter(d, v_bot, v_class, v_tag, v_text, v_status)
         ORDER BY d.died_at, d.id LIMIT p_limit;
    END IF;
END $$;
COMMENT ON FUNCTION outbox.match_dead_letters IS 'Finds dead letters by the conditions of retry and discard.';

-- Promise: the same of one class of one bot.  Locks: nothing.  Cost: what they have in that time, until p_limit are found.
CREATE OR REPLACE FUNCTION outbox.match_class_of_bot(
    p_bot text, p_class text, p_since timestamptz, p_until timestamptz, p_tag text, p_text text, p_status text,
    p_limit int, p_except bigint[]) RETURNS SETOF outbox.dead_letter
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_incremental_sort = on SET jit = off AS $$
BEGIN
    RETURN QUERY
    SELECT d.* FROM outbox.dead_letter d
     -- As rows and not as equalities, and in this order: no other index offers it.
     WHERE (d.bot, d.error_class, d.died_at) >= (p_bot, p_class, p_since)
       AND (d.bot, d.error_class, d.died_at) < (p_bot, p_class, p_until)
       AND d.id <> ALL (p_except) AND outbox.is_such_a_dead_letter(d, NULL, NULL, p_tag, p_text, p_status)
     ORDER BY d.bot, d.error_class, d.died_at, d.id LIMIT p_limit;
END $$;
COMMENT ON FUNCTION outbox.match_class_of_bot IS 'Finds dead letters of one class of one bot. Part of match_dead_letters.';
