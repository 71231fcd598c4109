"""Runs migrations on the connection that `database.migrate` hands in; there is no offline mode and no alembic.ini."""

from alembic import context

from crossover.rest_gateway.predictions.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
