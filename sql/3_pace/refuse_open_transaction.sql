-- Promise: returns only to a procedure that may commit; inside an open transaction it says so and what to do.
-- Locks: nothing.  Cost: two subtransactions that write nothing.
-- A procedure cannot ask whether it may commit. It can try where a commit is refused in any case: in an open transaction
-- for the same reason as in a function, else because a block with EXCEPTION is a subtransaction. The texts tell the two
-- apart, in whatever language the server speaks.
CREATE OR REPLACE PROCEDURE outbox.refuse_open_transaction(p_what text)
LANGUAGE plpgsql AS $$
DECLARE
    v_refusal text;
BEGIN
    BEGIN
        COMMIT;
    EXCEPTION WHEN invalid_transaction_termination THEN
        v_refusal := SQLERRM;
    END;
    IF v_refusal = outbox.refusal_inside_a_transaction() THEN
        RAISE EXCEPTION '% commits by itself and cannot run inside an open transaction', p_what USING
            ERRCODE = 'invalid_transaction_termination',
            HINT = 'Call it on a connection in autocommit mode, as a statement of its own: what it locks must not wait '
                   'for the end of yours.';
    END IF;
END $$;
COMMENT ON PROCEDURE outbox.refuse_open_transaction IS 'Fails inside an open transaction. Part of acquire and settle.';

-- Promise: what PostgreSQL answers to a COMMIT inside an open transaction, in the language of this session.
-- Locks: nothing.  Cost: one subtransaction that writes nothing.
CREATE OR REPLACE FUNCTION outbox.refusal_inside_a_transaction() RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    COMMIT;
    RETURN NULL;
EXCEPTION WHEN invalid_transaction_termination THEN
    RETURN SQLERRM;
END $$;
COMMENT ON FUNCTION outbox.refusal_inside_a_transaction IS 'Text of a refused COMMIT. Part of refuse_open_transaction.';
