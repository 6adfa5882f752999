-- Promise: dead letters that meet every condition given, newest death first; the conditions are those of outbox.retry:
-- since and until (not itself) are about the time of death, text is part of error_text in any case. The next page begins
-- with p_before_at and p_before_id: died_at and id of the last one. No payload.
-- Locks: nothing.  Cost: a walk by time of death, over no more than the newest 100,000 that lie in that time.
CREATE OR REPLACE FUNCTION outbox.find_dead_letters(
    p_bot text DEFAULT NULL, p_class text DEFAULT NULL, p_tag text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_status text DEFAULT NULL,
    p_before_at timestamptz DEFAULT NULL, p_before_id bigint DEFAULT NULL, p_limit int DEFAULT 50)
RETURNS TABLE (
    id bigint, bot text, chat_id text, method text, priority smallint, status text, tag text, correlation_id text,
    created_at timestamptz, died_at timestamptz, attempts int, error_class text, error_text text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_incremental_sort = off SET jit = off ROWS 50 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT d.id, d.bot, d.chat_id::text, d.method, d.priority, d.status, d.tag, d.correlation_id, d.created_at,
           d.died_at, d.attempts, d.error_class, d.error_text
      FROM outbox.walk_dead_letters(
               p_since, p_until, p_before_at, p_before_id, 100000) d
     WHERE outbox.is_such_a_dead_letter(d, p_bot, p_class, p_tag, p_text, p_status)
     LIMIT p_limit;
END $$;
COMMENT ON FUNCTION outbox.find_dead_letters IS
    'Dead letters by the conditions of outbox.retry, newest death first, of the newest 100,000 in that time (outbox.dead_letter_reach says whether that is all). Next page: p_before_at and p_before_id, died_at and id of the last one.';

-- Promise: whether find_dead_letters and dead_letter_groups look at all dead letters of that time (complete), or only at
-- those down to reached_id, which died at reached_at. Always one row.
-- Locks: nothing.  Cost: 100,000 index entries.
CREATE OR REPLACE FUNCTION outbox.dead_letter_reach(
    p_since timestamptz DEFAULT NULL, p_until timestamptz DEFAULT NULL, p_before_at timestamptz DEFAULT NULL,
    p_before_id bigint DEFAULT NULL, OUT complete boolean, OUT reached_at timestamptz, OUT reached_id bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_incremental_sort = off SET jit = off AS $$
BEGIN
    SELECT x.died_at, x.id INTO reached_at, reached_id
      FROM (SELECT d.died_at, d.id, lead(d.id) OVER (ORDER BY d.died_at DESC, d.id DESC) AS next_id
              FROM (SELECT w.died_at, w.id
                      FROM outbox.walk_dead_letters(p_since, p_until, p_before_at, p_before_id, 100001) w
                     OFFSET 99999) d) x
     WHERE x.next_id IS NOT NULL;
    complete := reached_at IS NULL;
END $$;
COMMENT ON FUNCTION outbox.dead_letter_reach IS
    'Whether find_dead_letters and dead_letter_groups look at all dead letters of a time (complete), or only at those down to reached_id, which died at reached_at; further back: find_dead_letters with these as p_before_id and p_before_at.';

-- Promise: the same, counted per bot, class and status, the largest group first, with the newest of each as a sample.
-- Locks: nothing.  Cost: reads the newest 100,000 dead letters that lie in that time.
CREATE OR REPLACE FUNCTION outbox.dead_letter_groups(
    p_bot text DEFAULT NULL, p_class text DEFAULT NULL, p_tag text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_status text DEFAULT NULL)
RETURNS TABLE (bot text, error_class text, status text, count bigint, first_at timestamptz, last_at timestamptz,
               sample_id bigint, sample_text text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_incremental_sort = off SET work_mem = '32MB' SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT g.bot, g.error_class, g.status, g.n, g.first_at, g.last_at, s.id, s.error_text
      FROM (SELECT d.bot, d.error_class, d.status, count(*) AS n, min(d.died_at) AS first_at, max(d.died_at) AS last_at,
                   (array_agg(d.id ORDER BY d.died_at DESC, d.id DESC))[1] AS newest
              FROM outbox.walk_dead_letters(p_since, p_until, NULL, NULL, 100000) d
             WHERE outbox.is_such_a_dead_letter(d, p_bot, p_class, p_tag, p_text, p_status)
             GROUP BY d.bot, d.error_class, d.status) g
     CROSS JOIN LATERAL (SELECT x.id, x.error_text FROM outbox.dead_letter x WHERE x.id = g.newest LIMIT 1) s
     ORDER BY g.n DESC, g.bot, g.error_class, g.status;
END $$;
COMMENT ON FUNCTION outbox.dead_letter_groups IS
    'Dead letters by the conditions of outbox.retry, counted per bot, error_class and status, with the newest of each as a sample; of the newest 100,000 in that time.';

-- Promise: how many dead letters outbox.retry and outbox.discard would take, called until none is left; p_most: so many or
-- more.
-- Locks: nothing.  Cost: reads the dead letters that lie in that time, the newest first, until p_most meet the conditions.
CREATE OR REPLACE FUNCTION outbox.count_dead_letters(
    p_bot text DEFAULT NULL, p_class text DEFAULT NULL, p_tag text DEFAULT NULL, p_since timestamptz DEFAULT NULL,
    p_until timestamptz DEFAULT NULL, p_text text DEFAULT NULL, p_status text DEFAULT NULL, p_ids bigint[] DEFAULT NULL,
    p_most int DEFAULT 100000)
RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_incremental_sort = off SET jit = off AS $$
BEGIN
    IF p_most IS NULL OR p_most < 1 THEN
        RAISE EXCEPTION 'p_most % is no number to count up to', coalesce(p_most::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Count up to 1 or more, such as 100000.';
    END IF;
    IF p_ids IS NOT NULL THEN
        RETURN (SELECT count(*)
                  FROM (SELECT FROM outbox.dead_letter d
                         WHERE d.id = ANY (p_ids) AND coalesce(d.died_at >= p_since, true)
                           AND coalesce(d.died_at < p_until, true)
                           AND outbox.is_such_a_dead_letter(d, p_bot, p_class, p_tag, p_text, p_status)
                         LIMIT p_most) x);
    END IF;
    RETURN (SELECT count(*)
              FROM (SELECT FROM outbox.walk_dead_letters(p_since, p_until, NULL, NULL, NULL) d
                     WHERE outbox.is_such_a_dead_letter(d, p_bot, p_class, p_tag, p_text, p_status) LIMIT p_most) x);
END $$;
COMMENT ON FUNCTION outbox.count_dead_letters IS
    'How many dead letters meet the conditions of outbox.retry and outbox.discard, counted up to p_most: that many or more. A dry run without p_limit.';

-- Promise: dead letters by time of death, newest first, before a place in that order.
-- Locks: nothing.  Cost: index entries up to the limit. One SELECT and no SET: planned with its caller.
CREATE OR REPLACE FUNCTION outbox.walk_dead_letters(
    p_since timestamptz, p_until timestamptz, p_before_at timestamptz, p_before_id bigint, p_limit bigint)
RETURNS SETOF outbox.dead_letter
LANGUAGE sql STABLE AS $$
    SELECT d.* FROM outbox.dead_letter d
     WHERE d.died_at >= coalesce(p_since, '-infinity')
       AND d.died_at <= least(p_until, p_before_at, 'infinity')
       AND (p_until IS NULL OR d.died_at < p_until)
       AND (p_before_at IS NULL OR (d.died_at, d.id) < (p_before_at, coalesce(p_before_id, -9223372036854775808)))
     ORDER BY d.died_at DESC, d.id DESC LIMIT p_limit
$$;
COMMENT ON FUNCTION outbox.walk_dead_letters IS 'Dead letters by time of death. Part of find_dead_letters.';

-- Promise: whether a dead letter meets the conditions that are given, as match_dead_letters has them.
-- Locks: nothing.  Cost: arithmetic.
CREATE OR REPLACE FUNCTION outbox.is_such_a_dead_letter(
    d outbox.dead_letter, p_bot text, p_class text, p_tag text, p_text text, p_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (p_bot IS NULL OR (d).bot = lower(p_bot COLLATE "C") COLLATE "default")
       AND (p_class IS NULL OR (d).error_class = p_class)
       AND (p_tag IS NULL OR (d).tag = p_tag) AND (p_status IS NULL OR (d).status = p_status)
       AND (coalesce(p_text, '') = '' OR strpos(lower((d).error_text), lower(p_text)) > 0)
$$;
COMMENT ON FUNCTION outbox.is_such_a_dead_letter IS 'Whether a dead letter meets an operator''s conditions. Part of find_dead_letters.';
