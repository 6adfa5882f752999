-- Promise: ended messages with p_from <= id < p_below, newest id first, at most p_limit: all (p_by 'id'), or those whose
-- correlation, chat, class, tag, status or bot is p_value.
-- Locks: nothing.  Cost: index entries up to the limit, whatever else is kept and whatever statistics say: of each branch
-- only one index has the order, and what is not asked for is not read. One SELECT and no SET: planned with its caller, who
-- may take the first rows without sorting them: only one branch has any, in order.
CREATE OR REPLACE FUNCTION outbox.walk_finished(
    p_by text, p_value text, p_from bigint, p_below bigint, p_limit bigint) RETURNS SETOF outbox.finished
LANGUAGE sql STABLE AS $$
    (SELECT f.* FROM outbox.finished f
      WHERE p_by = 'id' AND f.id >= p_from AND f.id < p_below ORDER BY f.id DESC LIMIT p_limit)
    UNION ALL
    -- Its index has no id: as many are sorted as bear one correlation_id.
    (SELECT f.* FROM (SELECT * FROM outbox.finished f
                       WHERE p_by = 'correlation' AND f.correlation_id = p_value AND f.id >= p_from AND f.id < p_below
                       LIMIT p_limit) f
      ORDER BY f.id DESC)
    UNION ALL
    (SELECT f.* FROM outbox.finished f
      WHERE p_by = 'chat' AND (f.chat_id, f.id) >= (p_value COLLATE "C", p_from)
        AND (f.chat_id, f.id) < (p_value COLLATE "C", p_below) ORDER BY f.chat_id DESC, f.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT f.* FROM outbox.finished f
      WHERE p_by = 'class' AND f.error_class IS NOT NULL AND (f.error_class, f.id) >= (p_value, p_from)
        AND (f.error_class, f.id) < (p_value, p_below) ORDER BY f.error_class DESC, f.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT f.* FROM outbox.finished f
      WHERE p_by = 'tag' AND f.tag IS NOT NULL AND (f.tag, f.id) >= (p_value, p_from)
        AND (f.tag, f.id) < (p_value, p_below) ORDER BY f.tag DESC, f.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT f.* FROM outbox.finished f
      WHERE p_by = 'status' AND f.status <> 'sent' AND (f.status, f.id) >= (p_value, p_from)
        AND (f.status, f.id) < (p_value, p_below) ORDER BY f.status DESC, f.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT f.* FROM outbox.finished f
      WHERE p_by = 'bot' AND (f.bot, f.id) >= (p_value, p_from)
        AND (f.bot, f.id) < (p_value, p_below) ORDER BY f.bot DESC, f.id DESC LIMIT p_limit)
$$;
COMMENT ON FUNCTION outbox.walk_finished IS 'Ended messages by one index, newest first. Part of find_messages.';

-- Promise: the same of messages that wait: all, or those of a correlation, a chat or a tag; of sending those whose ids
-- p_ids names.
-- Locks: nothing.  Cost: as above.
CREATE OR REPLACE FUNCTION outbox.walk_message(
    p_by text, p_value text, p_ids bigint[], p_from bigint, p_below bigint, p_limit bigint) RETURNS SETOF outbox.message
LANGUAGE sql STABLE AS $$
    (SELECT m.* FROM outbox.message m
      WHERE p_by = 'id' AND m.id >= p_from AND m.id < p_below ORDER BY m.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT m.* FROM outbox.message m
      WHERE p_by = 'ids' AND m.id = ANY (p_ids) AND m.id >= p_from AND m.id < p_below ORDER BY m.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT m.* FROM (SELECT * FROM outbox.message m
                       WHERE p_by = 'correlation' AND m.correlation_id = p_value AND m.id >= p_from AND m.id < p_below
                       LIMIT p_limit) m
      ORDER BY m.id DESC)
    UNION ALL
    (SELECT m.* FROM (SELECT * FROM outbox.message m
                       WHERE p_by = 'chat' AND m.chat_id = p_value AND m.id >= p_from AND m.id < p_below
                       LIMIT p_limit) m
      ORDER BY m.id DESC)
    UNION ALL
    (SELECT m.* FROM outbox.message m
      WHERE p_by = 'tag' AND m.tag IS NOT NULL AND (m.tag, m.id) >= (p_value, p_from)
        AND (m.tag, m.id) < (p_value, p_below) ORDER BY m.tag DESC, m.id DESC LIMIT p_limit)
$$;
COMMENT ON FUNCTION outbox.walk_message IS 'Waiting messages by one index, newest first. Part of find_messages.';

-- Promise: the same of dead letters: all, or those of a correlation or a chat.
-- Locks: nothing.  Cost: as above.
CREATE OR REPLACE FUNCTION outbox.walk_dead_letter(
    p_by text, p_value text, p_from bigint, p_below bigint, p_limit bigint) RETURNS SETOF outbox.dead_letter
LANGUAGE sql STABLE AS $$
    (SELECT d.* FROM outbox.dead_letter d
      WHERE p_by = 'id' AND d.id >= p_from AND d.id < p_below ORDER BY d.id DESC LIMIT p_limit)
    UNION ALL
    (SELECT d.* FROM (SELECT * FROM outbox.dead_letter d
                       WHERE p_by = 'correlation' AND d.correlation_id = p_value AND d.id >= p_from AND d.id < p_below
                       LIMIT p_limit) d
      ORDER BY d.id DESC)
    UNION ALL
    (SELECT d.* FROM outbox.dead_letter d
      WHERE p_by = 'chat' AND (d.chat_id, d.id) >= (p_value COLLATE "C", p_from)
        AND (d.chat_id, d.id) < (p_value COLLATE "C", p_below) ORDER BY d.chat_id DESC, d.id DESC LIMIT p_limit)
$$;
COMMENT ON FUNCTION outbox.walk_dead_letter IS 'Dead letters by one index, newest first. Part of find_messages.';
