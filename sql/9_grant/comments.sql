-- Promise: every table, and every column of message, bot and attempt, says what it holds, in which unit and who sets it:
-- \d+ is the manual. Here and not in the migrations: words are replaced on every migrate.
-- Locks: SHARE UPDATE EXCLUSIVE on each table: only DDL and VACUUM wait for it, and it waits for them.  Cost: catalog rows.
COMMENT ON SCHEMA outbox IS 'Transactional outbox for Telegram. Insert into outbox.message, ask outbox.history what became of it.';

COMMENT ON TABLE outbox.message IS 'Messages that wait. Insert chat_id and payload here, in your own transaction; delivery removes the row. Not in here any more: see outbox.history.';
COMMENT ON COLUMN outbox.message.id IS 'The message''s number for ever. Given by the database.';
COMMENT ON COLUMN outbox.message.bot IS 'Which bot sends it: a name in outbox.bot. Default: default.';
COMMENT ON COLUMN outbox.message.chat_id IS 'The chat: a number such as 42 or -1001234567890, or an @name, stored in lower case.';
COMMENT ON COLUMN outbox.message.method IS 'Method of the Bot API. Default: sendMessage.';
COMMENT ON COLUMN outbox.message.payload IS 'The method''s parameters without chat_id, a JSON object of at most 256 kB, such as {"text": "hi"}.';
COMMENT ON COLUMN outbox.message.priority IS '0 critical, 1 high, 2 normal (default), 3 low. Better ones of a chat go first.';
COMMENT ON COLUMN outbox.message.next_attempt_at IS 'Not sent before this time; in the future: scheduled. Default: now().';
COMMENT ON COLUMN outbox.message.expires_at IS 'Not sent from this time on: the message ends as expired. NULL (default): never.';
COMMENT ON COLUMN outbox.message.max_attempts IS 'Calls that may fail before it becomes a dead letter; waiting for a 429 is none. NULL (default): the bot''s.';
COMMENT ON COLUMN outbox.message.correlation_id IS 'The writer''s name for it, at most 200 characters, found again in history and logs. Default: a random UUID.';
COMMENT ON COLUMN outbox.message.idempotency_key IS 'A second insert with this key of the same bot stores nothing and raises nothing, for bot.idempotency_s seconds. At most 200 characters.';
COMMENT ON COLUMN outbox.message.collapse_key IS 'Of the due messages of a chat with this key only the newest payload is sent, in the oldest one''s place. At most 200 characters. Not used yet: every message is sent.';
COMMENT ON COLUMN outbox.message.on_uncertain IS 'When nobody knows whether Telegram sent it: retry (at least once, default) or hold (it becomes a dead letter of status uncertain, a person decides).';
COMMENT ON COLUMN outbox.message.tag IS 'A free label to group and find messages by, at most 200 characters.';
COMMENT ON COLUMN outbox.message.created_at IS 'Start of the transaction that inserted it. Given by the database.';
COMMENT ON COLUMN outbox.message.attempts IS 'Attempts spent: calls that failed; those answered by 429 and those never sent do not count. Kept by the worker.';
COMMENT ON COLUMN outbox.message.calls IS 'Number of the last attempt, those included that spent nothing. Kept by the worker.';
COMMENT ON COLUMN outbox.message.last_error IS 'What the last failed call said, at most 500 characters. Kept by the worker.';

COMMENT ON TABLE outbox.bot IS 'Bots and their policy: change it with outbox.set_bot. Bot tokens are never in the database.';
COMMENT ON COLUMN outbox.bot.bot IS 'Name: lower-case letters, digits, _ and -. OUTBOX_TOKEN_<NAME> gives the worker its token.';
COMMENT ON COLUMN outbox.bot.rate IS 'Messages of the whole bot per rate_window_s. Telegram: 30 per second. NULL: unlimited.';
COMMENT ON COLUMN outbox.bot.rate_window_s IS 'Length of the sliding window of rate, in seconds.';
COMMENT ON COLUMN outbox.bot.chat_interval_s IS 'Seconds between the answer to a chat''s last message and its next one. Telegram: about 1.';
COMMENT ON COLUMN outbox.bot.group_limit IS 'Messages to one group or channel (negative id or @name) per group_window_s. Telegram: 20 per minute. NULL: unlimited.';
COMMENT ON COLUMN outbox.bot.group_window_s IS 'Length of the sliding window of group_limit, in seconds.';
COMMENT ON COLUMN outbox.bot.backoff_initial_s IS 'Longest wait after the first failed attempt, in seconds; the real one is random between 0 and that.';
COMMENT ON COLUMN outbox.bot.backoff_factor IS 'The longest wait grows by this factor with each attempt.';
COMMENT ON COLUMN outbox.bot.backoff_max_s IS 'No wait after a failed attempt is longer, in seconds. A 429''s retry_after is obeyed whatever it is.';
COMMENT ON COLUMN outbox.bot.max_attempts IS 'Attempts before a message that brings no number of its own becomes a dead letter.';
COMMENT ON COLUMN outbox.bot.breaker_answers IS 'The breaker opens on no fewer answers than this in 30 seconds. Not used yet.';
COMMENT ON COLUMN outbox.bot.breaker_failure_share IS 'The breaker opens when at least this share of those answers failed, 0 to 1. Not used yet.';
COMMENT ON COLUMN outbox.bot.breaker_open_s IS 'How long the breaker stays open at first, in seconds; each time twice as long. Not used yet.';
COMMENT ON COLUMN outbox.bot.breaker_open_max_s IS 'The breaker never stays open longer at a time, in seconds. Not used yet.';
COMMENT ON COLUMN outbox.bot.idempotency_s IS 'How long an idempotency_key is remembered, in seconds. Default: 604800, 7 days.';
COMMENT ON COLUMN outbox.bot.keep_payload IS 'Whether finished messages keep their payload.';
COMMENT ON COLUMN outbox.bot.telegram_id IS 'The bot''s own id at Telegram, told by getMe; another one means another bot behind the name. Not used yet.';
COMMENT ON COLUMN outbox.bot.created_at IS 'When the bot was added.';

COMMENT ON TABLE outbox.attempt IS 'One row per call of the Bot API, a partition per day (UTC) of answered_at, dropped after 30 days by default.';
COMMENT ON COLUMN outbox.attempt.message_id IS 'The message: id in outbox.history.';
COMMENT ON COLUMN outbox.attempt.attempt IS 'Number of the call for that message, from 1.';
COMMENT ON COLUMN outbox.attempt.bot IS 'The bot that called.';
COMMENT ON COLUMN outbox.attempt.chat_id IS 'The chat.';
COMMENT ON COLUMN outbox.attempt.worker IS 'The incarnation of the worker that called: id in outbox.worker.';
COMMENT ON COLUMN outbox.attempt.started_at IS 'When the call began, in the database''s clock.';
COMMENT ON COLUMN outbox.attempt.answered_at IS 'When the answer came, or was given up, in the database''s clock.';
COMMENT ON COLUMN outbox.attempt.outcome IS 'sent, wait (429), retry (not executed), uncertain (nobody knows) or dead (refused for good).';
COMMENT ON COLUMN outbox.attempt.http_status IS 'HTTP status; NULL: no answer.';
COMMENT ON COLUMN outbox.attempt.error_code IS 'error_code of Telegram''s answer.';
COMMENT ON COLUMN outbox.attempt.error_text IS 'description of Telegram''s answer or the error of the connection, at most 500 characters.';
COMMENT ON COLUMN outbox.attempt.retry_after_s IS 'How long Telegram told us to wait, in seconds.';
COMMENT ON COLUMN outbox.attempt.error_class IS 'What kind of error it was, as metrics and outbox.history name it.';
COMMENT ON COLUMN outbox.attempt.late IS 'True: the answer came when its worker did not own the chat any more.';

COMMENT ON TABLE outbox.finished IS 'Messages that ended, but for dead letters; a partition per day (UTC) of finished_at. Read outbox.history.';
COMMENT ON TABLE outbox.dead_letter IS 'Messages that need a person: dead (failed for good) or uncertain (perhaps sent). Kept for 90 days by default.';
COMMENT ON TABLE outbox.chat IS 'One row per chat and bot that was ever sent to: its lane. What is in flight, when it may send next, suppression.';
COMMENT ON TABLE outbox.bucket IS 'One row per bot: its token bucket, breaker and pauses. Read outbox.limits.';
COMMENT ON TABLE outbox.wakeup IS '"Look at this chat no later than due_at", for messages of this priority or better: the queue that claim takes from.';
COMMENT ON TABLE outbox.request IS 'Cancels that wait until their chat is looked at. Only appended to by applications. Not used yet.';
COMMENT ON TABLE outbox.stop IS 'Tags whose messages must not be sent any further. Not used yet.';
COMMENT ON TABLE outbox.idempotency IS 'Idempotency keys in use, and the message each stands for.';
COMMENT ON TABLE outbox.worker IS 'Worker processes: one row per incarnation. A lease that ran out frees what the worker had in flight.';
COMMENT ON TABLE outbox.housekeeping IS 'Duties of housekeeping, who holds the lease (duty lease), and how each last ran.';
COMMENT ON TABLE outbox.depth IS 'What outbox.queue showed at measured_at: one count for all gauges. Written by housekeeping.';
COMMENT ON TABLE outbox.audit IS 'What operators did: who, what, to which messages, how many.';
COMMENT ON TABLE outbox.release IS 'Which versions'' tables and functions were applied, by digest, and when last.';
