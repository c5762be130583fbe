"""When a job last asked whether to stop

Revision ID: 20261123_job_asked
Revises: 20261123_restarts

Only adds. A web process of before notes nothing, so that its jobs are said not to have asked.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_job_asked"
down_revision = "20261123_restarts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "segment",
        sa.Column(
            "asked_at",
            sa.DateTime(timezone=True),
            comment="when it last asked whether to stop, to the minute; null: never",
        ),
    )


def downgrade() -> None:
    op.drop_column("segment", "asked_at")
