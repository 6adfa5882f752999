-- Promise: every bot has a bucket whose ring holds one token per message of its limit.
-- Locks: the bot's bucket.  Cost: only when a bot is added or its rate changes.
CREATE OR REPLACE FUNCTION outbox.shape_bucket() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Above 100 messages per window the ring would cost more than it gains: GCRA, without tokens (offer_slots).
    v_new_at timestamptz;
    v_tokens int := CASE WHEN NEW.rate <= 100 THEN NEW.rate ELSE 0 END;
BEGIN
    INSERT INTO outbox.bucket (bot, free_at, used_by, active_tokens)
    VALUES (NEW.bot, array_fill('epoch'::timestamptz, ARRAY[v_tokens]), array_fill(0::bigint, ARRAY[v_tokens]), v_tokens)
    ON CONFLICT (bot) DO NOTHING;
    IF FOUND OR TG_OP = 'INSERT' THEN
        RETURN NULL;
    END IF;
    -- A token in use stays in use: a lower rate must not forget what was sent a moment ago.
    -- Without tokens nothing tells what was sent in the last window: then they are all in use until it has passed.
    v_new_at := CASE WHEN OLD.rate <= 100 THEN 'epoch'
                     ELSE outbox.clock() + make_interval(secs => NEW.rate_window_s + 1) END;
    UPDATE outbox.bucket b
       SET (free_at, used_by) = (
               SELECT coalesce(array_agg(t.free_at ORDER BY t.free_at), '{}'),
                      coalesce(array_agg(t.used_by ORDER BY t.free_at), '{}')
                 FROM (SELECT u.free_at, u.used_by
                         FROM (SELECT * FROM unnest(b.free_at, b.used_by) o (free_at, used_by)
                               UNION ALL
                               SELECT v_new_at, 0 FROM generate_series(1, v_tokens)) u
                        ORDER BY u.free_at DESC LIMIT v_tokens) t),
           active_tokens = v_tokens, kept_at = '{}', ceiling = NULL, lowered_at = NULL, raised_at = NULL, trusted_until = NULL
     WHERE b.bot = NEW.bot;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION outbox.shape_bucket IS 'Trigger of outbox.bot: keeps the bot''s token bucket in step with its rate.';

CREATE OR REPLACE TRIGGER shape_bucket AFTER INSERT OR UPDATE OF rate ON outbox.bot
FOR EACH ROW EXECUTE FUNCTION outbox.shape_bucket();

-- Whoever sets OUTBOX_TOKEN alone must find a bot to send with.
INSERT INTO outbox.bot (bot) VALUES ('default') ON CONFLICT DO NOTHING;
