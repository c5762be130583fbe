"""When a key was last used

Revision ID: 20261123_key_use
Revises: 20261123_live_offers

Only adds. A web process of before records no use.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_key_use"
down_revision = "20261123_live_offers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_key",
        sa.Column(
            "last_used_at", sa.DateTime(timezone=True), comment="when it last opened, to the minute; null: never"
        ),
    )


def downgrade() -> None:
    op.drop_column("api_key", "last_used_at")
