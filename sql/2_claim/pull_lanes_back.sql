-- Promise: after the clock stepped back these lanes wait as long as they would have from their last message on, counted
-- from now, and not until the clock has caught up (I5).
-- Locks: nothing, the caller holds the chats.  Cost: one update each, once per step.
CREATE OR REPLACE FUNCTION outbox.pull_lanes_back(p_bot text, p_chat_ids text[], p_now timestamptz) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE outbox.chat c
       SET next_send_at = p_now + (c.next_send_at - c.last_sent_at),
           backoff_until = ARRAY(SELECT p_now + (b.until - c.last_sent_at)
                                   FROM unnest(c.backoff_until) WITH ORDINALITY b (until, i) ORDER BY b.i),
           group_sent_at = ARRAY(SELECT g.at - (c.last_sent_at - p_now)
                                   FROM unnest(c.group_sent_at) WITH ORDINALITY g (at, i) ORDER BY g.i),
           last_sent_at = p_now
     WHERE c.chat_id = ANY (p_chat_ids) AND c.bot = p_bot
$$;
COMMENT ON FUNCTION outbox.pull_lanes_back IS 'Moves lanes'' deadlines back after the clock stepped back. Part of claim.';
