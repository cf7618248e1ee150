"""Alembic's entry point: migrates on the connection that `tasks.catalog.migrate` opened, in its transaction."""

from alembic import context

from tasks.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
