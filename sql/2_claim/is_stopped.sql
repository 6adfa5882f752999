-- Promise: whether a message with this tag was covered by a cancel of the tag.
-- Locks: nothing.  Cost: one probe, for messages with a tag only.
CREATE OR REPLACE FUNCTION outbox.is_stopped(p_tag text, p_bot text, p_id bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT p_tag IS NOT NULL AND EXISTS (SELECT FROM outbox.stop s
                                          WHERE s.tag = p_tag AND s.up_to_id >= p_id AND coalesce(s.bot = p_bot, true))
$$;
COMMENT ON FUNCTION outbox.is_stopped IS 'Whether a message is covered by a cancel of its tag.';
