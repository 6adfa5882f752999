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
-- Locks: nothing.  Cost: an index for ids, bot and class, or time; else a walk over dead letters in order of age.
CREATE OR REPLACE FUNCTION outbox.match_dead_letters(
    p_filter jsonb, p_limit int, p_except bigint[], OUT id bigint, OUT chat_id text, OUT bot text) RETURNS SETOF record
LANGUAGE plpgsql STABLE
-- A plan per call: the conditions that are missing must not cost an index.
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_ids bigint[] := CASE WHEN p_filter ? 'ids'
                           THEN ARRAY(SELECT i::bigint FROM jsonb_array_elements_text(p_filter -> 'ids') i) END;
    v_bot text := p_filter ->> 'bot';
    v_class text := p_filter ->> 'class';
    v_tag text := p_filter ->> 'tag';
    v_since timestamptz := p_filter ->> 'since';
    v_until timestamptz := p_filter ->> 'until';
    v_text text := lower(p_filter ->> 'text');
    v_status text := p_filter ->> 'status';
BEGIN
    RETURN QUERY
    SELECT d.id, d.chat_id::text, d.bot
      FROM outbox.dead_letter d
     WHERE (v_ids IS NULL OR d.id = ANY (v_ids)) AND (v_bot IS NULL OR d.bot = v_bot)
       AND (v_class IS NULL OR d.error_class = v_class) AND (v_tag IS NULL OR d.tag = v_tag)
       AND (v_since IS NULL OR d.died_at >= v_since) AND (v_until IS NULL OR d.died_at < v_until)
       -- Not LIKE: signs in the text would have a meaning.
       AND (v_text IS NULL OR strpos(lower(d.error_text), v_text) > 0)
       AND (v_status IS NULL OR d.status = v_status) AND d.id <> ALL (p_except)
     ORDER BY d.died_at, d.id LIMIT p_limit;
END $$;
COMMENT ON FUNCTION outbox.match_dead_letters IS 'Finds dead letters by the conditions of retry and discard.';
