"""Runs inside outbox.database.migrate: in its transaction, under its lock, or offline for --sql."""

from alembic import context

connection = context.config.attributes.get("connection")

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        version_table_schema="outbox",
        literal_binds=True,
        # Otherwise every % is doubled, as if a driver came after.
        dialect_opts={"paramstyle": "named"},
        # migrate_sql() writes BEGIN and COMMIT around everything.
        transactional_ddl=False,
    )
else:
    if connection is None:
        raise SystemExit("outbox: alembic alone knows no database. Run: outbox migrate.")
    context.configure(connection=connection, version_table_schema="outbox")

with context.begin_transaction():
    context.run_migrations()
