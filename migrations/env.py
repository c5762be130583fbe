"""Alembic's entry: migrations run on the connection that `app.migrate` hands in, each in its own transaction."""

from alembic import context

from app.storage.tables import metadata

# procrastinate's schema comes from its own SQL, copied into revisions; autogenerate must not try to drop it.
QUEUE_PREFIX = "procrastinate_"


def is_ours(name: str | None, kind: str, parents: object) -> bool:
    return not (kind == "table" and name is not None and name.startswith(QUEUE_PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_name=is_ours,
    compare_type=True,
    compare_server_default=False,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
