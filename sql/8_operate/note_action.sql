-- Promise: who acts: the login; a tool that serves several people names its person in the setting outbox.operator, which
-- stands beside it.  Locks: nothing.  Cost: none.
CREATE OR REPLACE FUNCTION outbox.who_acts() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT session_user || coalesce(' (' || left(nullif(current_setting('outbox.operator', true), ''), 200) || ')', '')
$$;
COMMENT ON FUNCTION outbox.who_acts IS 'The login, and the person named in outbox.operator. Part of note_action.';

-- Promise: what an operator did is on record: who, what, to which rows, how many.
-- Locks: nothing.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.note_action(p_what text, p_filter jsonb, p_count bigint) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.audit (who, what, filter, count) VALUES (outbox.who_acts(), p_what, p_filter, p_count)
$$;
COMMENT ON FUNCTION outbox.note_action IS
    'Writes outbox.audit. Where many share a login, name the person before: set_config(''outbox.operator'', ''ann'', true).';
