-- Promise: the bucket with what its answers say about the whole bot: rolling counts, floods, breaker, refused bot token.
-- Decided here, under the lock that claim holds, so that complete never touches a bucket.
-- Locks: nothing, the caller holds the bucket.  Cost: one pass over the settlements.
-- p_settlements: those of this bot; see claim.
CREATE OR REPLACE FUNCTION outbox.weigh_answers(b outbox.bucket, o outbox.bot, p_settlements jsonb, p_now timestamptz)
RETURNS outbox.bucket
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    s record;
    v_steps int;
    v_as_found CONSTANT text := b.breaker;
BEGIN
    SELECT count(*) FILTER (WHERE x.result <> 'unsent') AS answered, count(*) FILTER (WHERE x.result = 'fail') AS failed,
           count(*) FILTER (WHERE x.result = 'refused') AS refused, count(*) FILTER (WHERE x.result = 'flood') AS flooded,
           coalesce(bool_or(x.result = 'unauthorised'), false) AS unauthorised,
           count(*) FILTER (WHERE x.is_probe IS NOT FALSE) AS probes_back,
           count(*) FILTER (WHERE x.is_probe AND x.result = 'ok') AS probes_passed,
           count(*) FILTER (WHERE x.is_probe AND x.result = 'fail') AS probes_failed,
           count(*) FILTER (WHERE x.is_probe AND x.result = 'refused' AND NOT x.is_known) AS probes_refused
      INTO s
      -- What needs no slot has no number that tells when it went: it makes room for another probe, and decides nothing. Of
      -- a bot without limit nothing has, so there everything decides.
      FROM (SELECT j.result, CASE WHEN j.slot IS NULL AND o.rate IS NULL THEN true ELSE j.slot > b.probes_after END AS is_probe,
                   -- Refused before the brake closed and again: says nothing about whether the incident goes on.
                   coalesce(j.chat_id = ANY (b.refused_chats), false) AS is_known
              FROM jsonb_to_recordset(p_settlements) j (slot bigint, result text, chat_id text)) x;
    b.unauthorised := b.unauthorised OR s.unauthorised;

    IF s.answered > 0 THEN
        v_steps := floor(extract(epoch FROM p_now - b.answered_cell_at) / 0.5);
        IF v_steps IS NULL OR v_steps <> 0 THEN
            b.answered := outbox.move_cells(b.answered, coalesce(v_steps, 10));
            b.flooded := outbox.move_cells(b.flooded, coalesce(v_steps, 10));
            b.answered_cell_at := CASE WHEN v_steps BETWEEN 1 AND 10 THEN b.answered_cell_at + v_steps * interval '0.5 s'
                                       ELSE p_now END;
        END IF;
        b.answered[1] := b.answered[1] + s.answered;
        b.flooded[1] := b.flooded[1] + s.flooded;
        v_steps := floor(extract(epoch FROM p_now - b.breaker_cell_at) / 5);
        IF v_steps IS NULL OR v_steps <> 0 THEN
            b.breaker_answered := outbox.move_cells(b.breaker_answered, coalesce(v_steps, 6));
            b.breaker_failed := outbox.move_cells(b.breaker_failed, coalesce(v_steps, 6));
            b.breaker_refused := outbox.move_cells(b.breaker_refused, coalesce(v_steps, 6));
            b.breaker_cell_at := CASE WHEN v_steps BETWEEN 1 AND 6 THEN b.breaker_cell_at + v_steps * interval '5 s'
                                      ELSE p_now END;
        END IF;
        b.breaker_answered[1] := b.breaker_answered[1] + s.answered;
        b.breaker_failed[1] := b.breaker_failed[1] + s.failed;
        b.breaker_refused[1] := b.breaker_refused[1] + s.refused;
    END IF;

    IF s.refused > 0 THEN
        -- Of the chats refused in 30 s, or since the brake closed, each once; of these the latest fifty.
        SELECT array_agg(x.chat_id), array_agg(x.at) INTO b.refused_chats, b.refused_at
          FROM (SELECT y.chat_id, max(y.at) AS at
                  FROM (SELECT k.chat_id, k.at FROM unnest(b.refused_chats, b.refused_at) k (chat_id, at)
                         WHERE k.at BETWEEN p_now - interval '30 s' AND p_now OR b.breaker <> 'closed'
                        UNION ALL
                        SELECT j.chat_id, p_now FROM jsonb_to_recordset(p_settlements) j (chat_id text, result text)
                         WHERE j.result = 'refused') y
                 GROUP BY y.chat_id ORDER BY at DESC LIMIT 50) x;
    END IF;
    IF s.flooded > 0 THEN
        b := outbox.note_floods(b, o, p_settlements, p_now);
    END IF;
    IF v_as_found <> b.breaker THEN
        -- Half-open since a moment ago: none of these answers is a probe's.
        b := outbox.turn_breaker(b, o, 0, 0, 0, 0, p_now);
    ELSIF s.failed > 0 OR s.refused > 0 OR b.breaker <> 'closed' THEN
        b := outbox.turn_breaker(b, o, s.probes_back::int, s.probes_passed::int, s.probes_failed::int,
                                 s.probes_refused::int, p_now);
    END IF;
    RETURN b;
END $$;
COMMENT ON FUNCTION outbox.weigh_answers IS
    'Takes into a bucket row in hand what answers say about the whole bot: floods, breaker, authorisation. Part of claim.';
