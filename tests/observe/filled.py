"""A database with a history, as after a month of work: written straight into the tables, in seconds."""

from __future__ import annotations

from typing import Any, Final

from tests.conftest import Database

DAYS: Final = 30
LATE: Final = 27_000  # of the newest messages: those of the last 15 minutes, at 30 a second

# Message number i of n was written so long ago; its id is 1,000 * i, so that ids grow with time as they really do.
_AGE: Final = f"""
    CREATE FUNCTION pg_temp.age(i float8, n bigint) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
        SELECT make_interval(secs =>
            CASE WHEN n - i < {LATE} THEN (n - i) / 30.0
                 ELSE 900 + (n - {LATE} - i) / greatest(n - {LATE}, 1) * {DAYS * 86400 - 900} END)
    $$
"""
_NUMBER: Final = f"""
    CREATE FUNCTION pg_temp.number(age_s float8, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
        SELECT (CASE WHEN age_s < 900 THEN n - age_s * 30
                     ELSE n - {LATE} - (age_s - 900) / {DAYS * 86400 - 900} * (n - {LATE}) END)::bigint
    $$
"""

_PARTITION: Final = """
    DO $$
    DECLARE
        v_day date;
        v_parent text;
        v_name text;
    BEGIN
        FOR v_day IN SELECT (now() AT TIME ZONE 'UTC')::date - d FROM generate_series(2, %(days)s + 1) d LOOP
            FOREACH v_parent IN ARRAY ARRAY['attempt', 'finished'] LOOP
                v_name := v_parent || to_char(v_day, '_YYYYMMDD');
                CONTINUE WHEN to_regclass('outbox.' || v_name) IS NOT NULL;
                EXECUTE format('CREATE TABLE outbox.%%I PARTITION OF outbox.%%I FOR VALUES FROM (%%L) TO (%%L)', v_name,
                               v_parent, v_day || ' 00:00:00+00', (v_day + 1) || ' 00:00:00+00');
                EXECUTE format('ALTER TABLE outbox.%%I REPLICA IDENTITY FULL', v_name);
            END LOOP;
        END LOOP;
    END $$
"""

# 95 % sent; three bots, of which quiet ended 40 messages, half a month ago; broadcasts and single ones; 40,000 chats,
# of which 7 is a hot one.
_FINISHED: Final = """
    INSERT INTO outbox.finished (id, bot, chat_id, method, payload, priority, status, tag, correlation_id, created_at,
                                 scheduled_for, finished_at, attempts, telegram_message_id, error_class, error_text)
    SELECT i * 1000, x.bot, x.chat_id, 'sendMessage', '{"text": "Your order is on its way. Follow it in the app."}',
           CASE WHEN i %% 10 < 7 THEN 2 ELSE 3 END, x.status,
           CASE WHEN i %% 25000 = 0 THEN 'rare' WHEN i %% 4 = 0 THEN 'sale'
                WHEN i %% 10 = 1 THEN 'digest-' || i / 10000 END,
           'order-' || i, x.at, x.at, x.at + interval '2 s', CASE WHEN x.status = 'sent' THEN 1 ELSE 0 END,
           CASE WHEN x.status = 'sent' THEN i END,
           CASE WHEN x.status <> 'sent' THEN CASE WHEN i %% 5000 = 100 THEN 'blocked' ELSE x.status END END,
           CASE WHEN x.status = 'superseded' THEN 'message ' || i || ' took its place' END
      FROM generate_series(%(n)s - %(finished)s + 1, %(n)s) i
     CROSS JOIN LATERAL (
            SELECT CASE WHEN i BETWEEN %(n)s / 2 AND %(n)s / 2 + 39 THEN 'quiet' WHEN i %% 3 = 0 THEN 'alerts'
                        ELSE 'default' END AS bot,
                   CASE WHEN i %% 50 = 0 THEN '7' WHEN i %% 20 = 0 THEN (-100000 - i %% 999)::text
                        ELSE (i %% 40000)::text END AS chat_id,
                   CASE WHEN i %% 20 <> 0 THEN 'sent'
                        ELSE (ARRAY['expired', 'cancelled', 'superseded', 'expired', 'discarded'])[1 + i / 20 %% 5]
                        END AS status,
                   now() - pg_temp.age(i, %(n)s) - interval '3 s' AS at OFFSET 0) x
"""
_ATTEMPTS: Final = """
    INSERT INTO outbox.attempt (message_id, attempt, bot, chat_id, worker, started_at, answered_at, outcome,
                                http_status, correlation_id, tag)
    SELECT f.id, 1, f.bot, f.chat_id, 1, f.finished_at - interval '100 ms', f.finished_at,
           CASE WHEN f.id / 1000 %% 100 = 3 THEN 'wait' WHEN f.id / 1000 %% 70 = 5 THEN 'retry' ELSE 'sent' END, 200,
           f.correlation_id, f.tag
      FROM outbox.finished f WHERE f.status = 'sent' AND f.finished_at > now() - interval '1 day'
"""
_CHATS: Final = """
    INSERT INTO outbox.chat (chat_id, bot, last_sent_at, next_send_at, backoff_until, suppressed_until,
                             suppressed_reason, suppressed_at, moved_to)
    SELECT i::text, 'default', now() - interval '1 h',
           now() + CASE WHEN i %% 100 = 3 THEN interval '5 min' ELSE '-1 h' END,
           ARRAY[NULL, NULL, now() + CASE WHEN i %% 1000 = 4 THEN interval '1 min' ELSE '-1 min' END, NULL],
           CASE WHEN i %% 500 = 9 THEN now() + interval '5 days' END, CASE WHEN i %% 500 = 9 THEN 'blocked' END,
           CASE WHEN i %% 500 = 9 THEN now() END, CASE WHEN i %% 2000 = 1999 THEN (-1000000000000 - i)::text END
      FROM generate_series(1, %(chats)s) i
"""
_DEAD: Final = """
    INSERT INTO outbox.dead_letter (id, bot, chat_id, method, payload, priority, status, tag, correlation_id,
                                    on_uncertain, created_at, scheduled_for, died_at, attempts, calls, max_attempts,
                                    error_class, error_text)
    SELECT i * 1000 + 1, CASE WHEN j %% 4 = 0 THEN 'alerts' ELSE 'default' END, (j * 4 %% 40000 + 1)::text,
           'sendMessage',
           '{"text": "It did not arrive."}', 2, CASE WHEN j %% 10 = 0 THEN 'uncertain' ELSE 'dead' END,
           CASE WHEN j %% 3 = 0 THEN 'sale' END, 'dead-' || j, 'retry', x.at, x.at, x.at + interval '5 min', 10, 10, 10,
           (ARRAY['bad_request', 'timeout', 'server_error', 'bad_request', 'too_long'])[1 + j %% 5],
           CASE WHEN j = 17 THEN 'Bad Request: needle in a haystack' ELSE 'Bad Request: no such thing, number ' || j END
      FROM generate_series(0, %(dead)s - 1) j
     CROSS JOIN LATERAL (SELECT 1 + j::bigint * (%(n)s - 1) / greatest(%(dead)s, 1) AS i) u
     CROSS JOIN LATERAL (SELECT now() - pg_temp.age(i, %(n)s) - interval '6 min' AS at) x
"""
# Written within the last 6 hours; a tenth is scheduled.
_WAITING: Final = """
    INSERT INTO outbox.message (id, bot, chat_id, payload, priority, next_attempt_at, tag, correlation_id, created_at)
    OVERRIDING SYSTEM VALUE
    SELECT u.i * 1000 + 2 + row_number() OVER (PARTITION BY u.i), CASE WHEN w %% 5 = 0 THEN 'alerts' ELSE 'default' END,
           (1 + w %% 40000)::text, '{"text": "Your order is on its way."}',
           CASE WHEN w %% 100 = 0 THEN 0 WHEN w %% 10 = 0 THEN 1 WHEN w %% 3 = 0 THEN 2 ELSE 3 END,
           CASE WHEN w %% 10 = 0 THEN now() + w %% 86400 * interval '1 s' ELSE now() - x.age END,
           CASE WHEN w %% 2 = 0 THEN 'sale' WHEN w %% 50 = 1 THEN 'digest-' || w %% 70 END, 'waiting-' || w,
           now() - x.age
      FROM generate_series(1, %(waiting)s) w
     CROSS JOIN LATERAL (SELECT 21600 * (1 - w::float8 / %(waiting)s) AS age_s) a
     CROSS JOIN LATERAL (SELECT pg_temp.number(a.age_s, %(n)s) AS i, make_interval(secs => a.age_s) AS age) u
     CROSS JOIN LATERAL (SELECT u.age) x
"""
_IN_FLIGHT: Final = """
    UPDATE outbox.chat c SET in_flight = m.id, worker = 1, attempt = 1, claimed_at = now()
      FROM (SELECT DISTINCT ON (m.chat_id) m.id, m.chat_id FROM outbox.message m
             WHERE m.bot = 'default' AND m.chat_id IN (SELECT (i * 1001)::text FROM generate_series(1, 30) i)
             ORDER BY m.chat_id, m.id) m
     WHERE c.chat_id = m.chat_id AND c.bot = 'default'
"""


def fill_history(
    db: Database, finished: int = 1_000_000, dead: int = 10_000, waiting: int = 100_000, chats: int = 40_000
) -> None:
    """Write messages that ended in a month, dead letters of that month, and messages of the last 6 hours that wait.

    Correlation ids are order-1 …, dead-0 … and waiting-1 …; tags sale, rare, digest-…; bots default, alerts and quiet.
    30 chats have a message in flight. Broadcasts are counted. Nothing is analysed.
    """
    values: dict[str, Any] = {
        "finished": finished,
        "dead": dead,
        "waiting": waiting,
        "chats": chats,
        "days": DAYS,
        "n": max(finished, dead, 2 * LATE),
    }
    with db.connect() as connection, connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute(_AGE)
        connection.execute(_NUMBER)
        connection.execute("INSERT INTO outbox.bot (bot) VALUES ('alerts'), ('quiet') ON CONFLICT DO NOTHING")
        for statement in (_PARTITION, _FINISHED, _ATTEMPTS, _CHATS, _DEAD, _WAITING, _IN_FLIGHT):
            # Not bound: DO takes no parameters, and numbers need no quotes.
            connection.execute(statement % values)  # type: ignore[arg-type]
        connection.execute("SELECT setval('outbox.message_id_seq', %s)", [1000 * values["n"] + 1000])
    # As housekeeping does every 15 s; it counts what is committed.
    db.execute("SELECT outbox.measure_broadcasts()")
