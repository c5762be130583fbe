"""The job queue's tables, as procrastinate 3.10.0 makes them

Revision ID: 20261122_job_queue
Revises:

The SQL is a copy, so that this revision stays what it is when the library moves on; its later schema changes become
revisions of their own.
"""

from pathlib import Path

from alembic import op

revision = "20261122_job_queue"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = Path(__file__).parents[1] / "sql" / "procrastinate_3.10.0.sql"


def upgrade() -> None:
    _execute_script(SCHEMA.read_text())


def downgrade() -> None:
    # Everything of the library's is named procrastinate_*: functions first lose their dependants with the tables.
    _execute_script("""
        DROP TABLE IF EXISTS procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs,
            procrastinate_workers CASCADE;
        DO $$
        DECLARE one regprocedure; DECLARE kind text;
        BEGIN
            FOR one IN SELECT oid::regprocedure FROM pg_proc
                WHERE proname LIKE 'procrastinate\\_%' AND pronamespace = current_schema()::regnamespace
            LOOP EXECUTE 'DROP FUNCTION ' || one || ' CASCADE'; END LOOP;
            FOR kind IN SELECT typname FROM pg_type
                WHERE typname LIKE 'procrastinate\\_%' AND typnamespace = current_schema()::regnamespace
            LOOP EXECUTE 'DROP TYPE ' || quote_ident(kind) || ' CASCADE'; END LOOP;
        END $$;
    """)


def _execute_script(script: str) -> None:
    # The driver's own connection: SQLAlchemy prepares statements, and a script of many cannot be prepared.
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(script)
