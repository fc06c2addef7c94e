"""What Alembic runs for every owner's migrations, with a connection whose transaction is not its own to end.

No module to import: Alembic executes this file while `alembic.context` is set up.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    # SQLite changes a column by a copy of its table; `op.batch_alter_table` does that where it must.
    render_as_batch=True,
)
context.run_migrations()
