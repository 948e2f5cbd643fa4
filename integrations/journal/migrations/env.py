"""Alembic's entry point; `Journal.migrate()` hands the open connection in."""

from alembic import context

from integrations.journal.schema import metadata

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    # Several processes start at once: one migrates, the others wait and find it done. The number is any that is ours.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7627)")
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
