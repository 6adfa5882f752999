-- Promise: inserts ring for this worker for exactly these bots from now on; false: its lease was lost.
-- Locks: the worker's row.  Cost: one update; call it when the bots of a living worker change.
CREATE OR REPLACE FUNCTION outbox.serve(p_worker bigint, p_bots text[]) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outbox.worker w SET bots = p_bots WHERE w.id = p_worker AND w.ended_at IS NULL;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION outbox.serve IS 'Tells which bots a living worker serves now. For workers.';
