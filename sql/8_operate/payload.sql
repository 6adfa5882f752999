-- Promise: what a message holds, wherever it is; NULL: unknown, or not kept (bot.keep_payload, forget). No view shows
-- it.
-- Locks: nothing.  Cost: an index probe in message, dead_letter and each day of finished.
CREATE OR REPLACE FUNCTION outbox.payload(p_id bigint) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT m.payload FROM outbox.message m WHERE m.id = p_id
    UNION ALL
    SELECT d.payload FROM outbox.dead_letter d WHERE d.id = p_id
    UNION ALL
    SELECT f.payload FROM outbox.finished f WHERE f.id = p_id
     LIMIT 1
$$;
COMMENT ON FUNCTION outbox.payload IS
    'The payload of a message, live, dead or finished; NULL where it was not kept. For admins.';
