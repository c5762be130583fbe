"""What a restart replaces, in the words of the columns

Revision ID: 20261123_restarts
Revises: 20261123_key_use

Changes comments alone; points are read by the new rule, which the code before does not need to know.
"""

from alembic import op

revision = "20261123_restarts"
down_revision = "20261123_key_use"
branch_labels = None
depends_on = None

RESUMED_FROM = "the checkpoint that the job said it resumed from [steps]"
RESUMED_AT = "where the job said it resumed [steps]"
ONCE_IT_LOGS = "One (re)start of a run; once it logs, it replaces earlier points beyond resume_step, or from first_step"
AT_ONCE = "One (re)start of a run; its points replace earlier ones from resume_step or first_step on"


def upgrade() -> None:
    op.alter_column("segment", "resume_step", comment=RESUMED_FROM, existing_comment=RESUMED_AT)
    op.create_table_comment("segment", ONCE_IT_LOGS, existing_comment=AT_ONCE)


def downgrade() -> None:
    op.create_table_comment("segment", AT_ONCE, existing_comment=ONCE_IT_LOGS)
    op.alter_column("segment", "resume_step", comment=RESUMED_AT, existing_comment=RESUMED_FROM)
