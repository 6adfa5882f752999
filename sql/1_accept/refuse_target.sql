-- Promise: a target is an earlier message of the same bot and chat: only there does the lane's order make it go first.
-- One that has ended already is judged when its follower is claimed.
-- Locks: nothing.  Cost: one probe, for messages with a target only.
CREATE OR REPLACE FUNCTION outbox.refuse_target() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.target_id < 1 OR NEW.target_id >= NEW.id THEN
        RAISE EXCEPTION 'target_id % is no message', NEW.target_id USING
            ERRCODE = 'check_violation', HINT = 'Give the id that the insert of an earlier message returned.';
    END IF;
    IF EXISTS (SELECT FROM outbox.message m WHERE m.id = NEW.target_id AND (m.chat_id, m.bot) <> (NEW.chat_id, NEW.bot))
       -- A group that became a supergroup has another id since.
       AND NOT EXISTS (SELECT FROM outbox.chat c
                        WHERE c.chat_id = NEW.chat_id AND c.bot = NEW.bot AND c.moved_to IS NOT NULL) THEN
        RAISE EXCEPTION 'target_id % is a message of another chat or bot', NEW.target_id USING
            ERRCODE = 'check_violation', HINT = 'Edit, answer or delete a message in its own chat, by its own bot.';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION outbox.refuse_target IS
    'Trigger of outbox.message: refuses a target_id that is no earlier message of the same bot and chat.';

DO $$
BEGIN
    -- The name sorts after refuse_bad_input, which lower-cases, and before remember_key.
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'outbox.message'::regclass AND tgname = 'refuse_target') THEN
        CREATE TRIGGER refuse_target BEFORE INSERT ON outbox.message FOR EACH ROW
        WHEN (NEW.target_id IS NOT NULL) EXECUTE FUNCTION outbox.refuse_target();
    END IF;
END $$;
