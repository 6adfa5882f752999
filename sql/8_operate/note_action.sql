-- Promise: what an operator did is on record: who, what, to which rows, how many. who is the login; a tool that serves
-- several people names its person in the setting outbox.operator, which stands beside it.
-- Locks: nothing.  Cost: one row.
CREATE OR REPLACE FUNCTION outbox.note_action(p_what text, p_filter jsonb, p_count bigint) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO outbox.audit (who, what, filter, count)
    VALUES (session_user
                || coalesce(' (' || left(nullif(current_setting('outbox.operator', true), ''), 200) || ')', ''),
            p_what, p_filter, p_count)
$$;
COMMENT ON FUNCTION outbox.note_action IS
    'Writes outbox.audit. Where many share a login, name the person before: set_config(''outbox.operator'', ''ann'', true).';
