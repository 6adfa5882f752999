-- Promise: true for one holder at a time, for p_length.  Locks: one row, SKIP LOCKED.  Cost: one HOT update.
CREATE OR REPLACE FUNCTION outbox.take_lease(p_duty text, p_holder text, p_length interval) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := outbox.clock();
BEGIN
    INSERT INTO outbox.housekeeping (duty) VALUES (p_duty) ON CONFLICT DO NOTHING;
    UPDATE outbox.housekeeping h SET holder = p_holder, lease_until = v_now + p_length
     WHERE h.duty = (SELECT x.duty FROM outbox.housekeeping x WHERE x.duty = p_duty FOR UPDATE SKIP LOCKED)
       -- A lease beyond p_length from now was given before the clock stepped back.
       AND (h.holder = p_holder OR h.lease_until IS NULL OR h.lease_until NOT BETWEEN v_now AND v_now + p_length);
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION outbox.take_lease IS 'Takes or renews a lease in housekeeping. Part of keep_house and may_export.';

-- Promise: true for one holder at a time: the lease of housekeeping, 15 s, in a row and not in a session: a frozen holder
-- loses it, and a transaction pooler cannot hand it to two.
-- Locks: one row, SKIP LOCKED.  Cost: one HOT update. Call every 5 s.
CREATE OR REPLACE FUNCTION outbox.keep_house(p_holder text) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT outbox.take_lease('lease', p_holder, interval '15 s')
$$;
COMMENT ON FUNCTION outbox.keep_house IS 'Takes or renews the lease of housekeeping (15 s); true: it is yours.';

-- Promise: the same for who shows the numbers of the database to monitors, 40 s: a process that keeps house may have no door
-- for them. Call every 15 s.  Locks and Cost: as keep_house.
CREATE OR REPLACE FUNCTION outbox.may_export(p_holder text) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT outbox.take_lease('exporter', p_holder, interval '40 s')
$$;
COMMENT ON FUNCTION outbox.may_export IS 'Takes or renews the lease of the exporter (40 s); true: this process shows outbox.gauges.';

-- Promise: what a duty did is on record, for gauges and doctor.  Locks: one row.  Cost: one upsert.
CREATE OR REPLACE FUNCTION outbox.note_duty(p_duty text, p_error text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.housekeeping AS h (duty, last_run_at, last_error, runs) VALUES (p_duty, outbox.clock(), p_error, 1)
    ON CONFLICT (duty) DO UPDATE
       SET last_run_at = excluded.last_run_at, last_error = excluded.last_error, runs = h.runs + 1
$$;
COMMENT ON FUNCTION outbox.note_duty IS 'Records that a duty of housekeeping ran, and its error if it failed.';

-- Promise: an orderly goodbye: the next holder need not wait for the lease to run out.  Locks: one row.
CREATE OR REPLACE FUNCTION outbox.leave_house(p_holder text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE outbox.housekeeping SET lease_until = NULL, holder = NULL
     WHERE duty = 'lease' AND holder = p_holder
$$;
COMMENT ON FUNCTION outbox.leave_house IS 'Gives the lease of housekeeping back.';

-- Promise and Locks: the same for the exporter's.
CREATE OR REPLACE FUNCTION outbox.end_export(p_holder text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE outbox.housekeeping SET lease_until = NULL, holder = NULL
     WHERE duty = 'exporter' AND holder = p_holder
$$;
COMMENT ON FUNCTION outbox.end_export IS 'Gives the lease of the exporter back.';
