"""What is left of deleted runs

Revision ID: 20261123_deleted_runs
Revises: 20261122_verdicts

Only adds. A web process of before answers 404 for a deleted run, as for any that it does not know.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_deleted_runs"
down_revision = "20261122_verdicts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deleted_run",
        sa.Column("id", sa.Text(), nullable=False, comment="the id that it had; made anew, it leaves this table"),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deleted_run")),
        comment="What is left of a deleted run: jobs that still write to it are told",
    )


def downgrade() -> None:
    op.drop_table("deleted_run")
