-- Promise: batches of dead letters and how far they are. eta_s: at the pace asked for, or that so far; NULL: not known yet.
-- Cost: one row of outbox.batch each.
CREATE OR REPLACE VIEW outbox.batches AS
SELECT b.id, b.verb, b.filter, b.requested_by, b.requested_at, b.per_s, b.total, b.done, b.state, b.finished_at,
       b.last_error,
       CASE WHEN b.state = 'done' OR b.total = 0 THEN 1 ELSE least(b.done::float8 / b.total, 1) END AS progress,
       CASE WHEN b.finished_at IS NULL
            THEN greatest(b.total - b.done, 0)
                 / coalesce(b.per_s, nullif(b.done, 0) / nullif(extract(epoch FROM outbox.clock() - b.requested_at), 0)::float8)
            END AS eta_s
  FROM outbox.batch b;
COMMENT ON VIEW outbox.batches IS
    'Batches of dead letters to retry or discard: what was asked by whom, total counted at the start, how many are done; state: running, done or stopped; progress 0 to 1; eta_s: seconds left.';
