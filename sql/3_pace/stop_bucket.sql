-- Promise: an operator's stop is set, or it and "unauthorised" are cleared; every other pause and the breaker stay as
-- they are (I9). Returns whether anything changed.
-- Locks: the bucket, waited for: a claim holds it for milliseconds.  Cost: one HOT update.
CREATE OR REPLACE FUNCTION outbox.stop_bucket(p_bot text, p_stopped boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outbox.bucket b SET stopped = p_stopped, unauthorised = b.unauthorised AND p_stopped
     WHERE b.bot = p_bot AND (b.stopped IS DISTINCT FROM p_stopped OR b.unauthorised AND NOT p_stopped);
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION outbox.stop_bucket IS 'Sets or clears an operator''s stop of a bot. Part of pause and resume.';
