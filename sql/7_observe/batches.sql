-- Promise: batches of dead letters and how far they are. total was counted up to 100,000: that many or more. eta_s: at the
-- pace asked for, or that so far; NULL: not known, also where more than was counted have been done. Of more than 100 ids the
-- first 100, and how many they are in ids_count.
-- Cost: one row of outbox.batch each.
CREATE OR REPLACE VIEW outbox.batches AS
SELECT b.id, b.verb,
       CASE WHEN jsonb_array_length(b.filter -> 'ids') > 100
            THEN b.filter || jsonb_build_object('ids_count', jsonb_array_length(b.filter -> 'ids'),
                                                'ids', jsonb_path_query_array(b.filter, '$.ids[0 to 99]'))
            ELSE b.filter END AS filter,
       b.requested_by, b.requested_at, b.per_s, b.total, b.done, b.state, b.finished_at, b.last_error,
       CASE WHEN b.state = 'done' OR b.total = 0 THEN 1 ELSE least((b.done + b.failed)::float8 / b.total, 1) END AS progress,
       CASE WHEN b.finished_at IS NULL AND (b.total < 100000 OR b.total > b.done + b.failed)
            THEN greatest(b.total - b.done - b.failed, 0)
                 / coalesce(b.per_s, nullif(b.done, 0) / nullif(extract(epoch FROM outbox.clock() - b.requested_at), 0)::float8)
            END AS eta_s,
       b.failed, b.key
  FROM outbox.batch b;
COMMENT ON VIEW outbox.batches IS
    'Batches of dead letters to retry or discard: what was asked by whom, total counted at the start (100,000: that many or more), how many are done, how many failed and were left as they are; state: running, done or stopped; progress 0 to 1; eta_s: seconds left; last_error: of a step that failed, kept when the batch ended with failures.';
