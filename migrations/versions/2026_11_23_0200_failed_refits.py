"""Refits that fail are counted

Revision ID: 20261123_failed_refits
Revises: 20261123_deleted_runs

Only adds, with a default that rewrites nothing. A worker of before counts none and goes on trying.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_failed_refits"
down_revision = "20261123_deleted_runs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "run_progress",
        sa.Column(
            "failures",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="refits in a row that failed at failed_at",
        ),
    )
    op.add_column(
        "run_progress",
        sa.Column(
            "failed_at",
            sa.Text(),
            comment="revision and version of the software at which refits failed; null: none did",
        ),
    )


def downgrade() -> None:
    op.drop_column("run_progress", "failed_at")
    op.drop_column("run_progress", "failures")
