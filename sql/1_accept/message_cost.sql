-- Promise: the number of parts in a list, at least 1; the most there may be when it is text of its own (the Bot API takes
-- JSON inside a string too) that cannot be counted.
-- Locks: nothing.  Cost: one walk over the list.
CREATE OR REPLACE FUNCTION outbox.count_parts(p_list jsonb, p_most int) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(p_list)
           WHEN 'array' THEN least(greatest(jsonb_array_length(p_list), 1), p_most)
           WHEN 'string' THEN p_most
           ELSE 1 END
$$;
COMMENT ON FUNCTION outbox.count_parts IS 'Length of a list in a payload. Part of message_cost.';

-- Promise: how many messages a call counts as: one per part of an album or a multi-copy; 0 for what takes no place in any
-- limit and moves no deadline: answering a button, showing that the bot types or writes, gifts.
-- Locks: nothing.  Cost: a look at the method; the payload of albums and multi-copies only.
-- Telegram documents no figure for albums; its server's books count N (TELEGRAM.md section 8), and so do we.
CREATE OR REPLACE FUNCTION outbox.message_cost(p_method text, p_payload jsonb) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE lower(p_method)
           WHEN 'sendmediagroup' THEN outbox.count_parts(p_payload -> 'media', 10)
           WHEN 'copymessages' THEN outbox.count_parts(p_payload -> 'message_ids', 100)
           WHEN 'forwardmessages' THEN outbox.count_parts(p_payload -> 'message_ids', 100)
           WHEN 'answercallbackquery' THEN 0
           WHEN 'sendchataction' THEN 0
           WHEN 'sendmessagedraft' THEN 0
           WHEN 'sendrichmessagedraft' THEN 0
           WHEN 'sendgift' THEN 0
           ELSE 1 END
$$;
COMMENT ON FUNCTION outbox.message_cost IS
    'How many messages a call counts as in the limits: N for albums and multi-copies, 0 for free methods.';
