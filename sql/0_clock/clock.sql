-- Promise: the one clock that every decision reads (I5); tests replace it to let time pass.
-- Locks: nothing.  Cost: one clock reading.
-- Not now(): after a lock was waited for, the transaction's start lies in the past.
CREATE OR REPLACE FUNCTION outbox.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ SELECT clock_timestamp() $$;
COMMENT ON FUNCTION outbox.clock IS 'The database''s clock, which gives every slot, deadline and lease.';
