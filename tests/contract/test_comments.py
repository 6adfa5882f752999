"""The catalog is the manual: \\d+ and \\df+ explain everything that is there."""

from __future__ import annotations

OUTSIDERS_READ = ("message", "bot", "attempt")


def test_every_function_has_a_comment(migrated):
    assert (
        migrated.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'outbox'::regnamespace"
            "   AND coalesce(obj_description(p.oid, 'pg_proc'), '') = ''"
        )
        == []
    )


def test_every_table_and_view_has_a_comment(migrated):
    assert (
        migrated.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace"
            "   AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND c.relname <> 'alembic_version'"
            "   AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''"
        )
        == []
    )


def test_every_column_that_outsiders_use_has_a_comment(migrated):
    assert (
        migrated.execute(
            "SELECT a.attrelid::regclass::text, a.attname FROM pg_attribute a"
            " WHERE a.attrelid = ANY (SELECT ('outbox.' || t)::regclass FROM unnest(%s::text[]) t)"
            "   AND a.attnum > 0 AND NOT a.attisdropped AND coalesce(col_description(a.attrelid, a.attnum), '') = ''",
            [list(OUTSIDERS_READ)],
        )
        == []
    )


def test_a_length_of_time_says_its_unit(migrated):
    """Columns that end in _s are seconds; the comment says so too."""
    rows = migrated.execute(
        "SELECT a.attrelid::regclass::text, a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a"
        " WHERE a.attrelid IN ('outbox.bot'::regclass, 'outbox.attempt'::regclass) AND a.attname LIKE '%\\_s'"
    )
    assert len(rows) >= 9
    assert [(table, column) for table, column, text in rows if "second" not in text.lower()] == []
