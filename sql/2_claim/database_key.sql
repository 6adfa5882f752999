-- Promise: which database this is, the same on every server that is promoted in its place: what a worker kept on its
-- disk for one database must not be told to another, and a copy must not send what the original sends. Of the two
-- parts the server's changes with pg_upgrade and with a restore into another server, the database's own number with a
-- copy inside one server (CREATE DATABASE … TEMPLATE, a dump restored beside the original).
-- Locks: nothing.  Cost: a look at pg_control.
-- Everybody may look unless a DBA took that right away: then the owner's right decides, the same answer for all who
-- call, and without any the database's number has to do.
CREATE OR REPLACE FUNCTION outbox.database_key() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_server text;
BEGIN
    BEGIN
        v_server := (SELECT s.system_identifier::text FROM pg_control_system() s);
    EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
        v_server := 'unknown';
    END;
    RETURN v_server || '-' || (SELECT d.oid::text FROM pg_database d WHERE d.datname = current_database());
END $$;
COMMENT ON FUNCTION outbox.database_key IS
    'Names this database among all of the world; a standby has the same. For workers.';
