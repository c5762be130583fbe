"""Runs that are still going speak too

Revision ID: 20261123_live_offers
Revises: 20261123_failed_refits

What finished runs have to say becomes what any run has to say, with the share of its way that it has made: 1 for all
that are there already. Nothing is rewritten. A worker of before goes on with a view under the old name, which holds the
finished runs alone; the next release drops it.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261123_live_offers"
down_revision = "20261123_failed_refits"
branch_labels = None
depends_on = None

COLUMNS = "run_key, project_id, revision, rules, arrivals, traits, losses"

OFFER = (
    "Runs as the others of their project see them: finished, or a fifth made at least",
    "Finished runs as the next runs of their project see them",
)
SIBLINGS = (
    "runs that were heard, with their likeness and the share made",
    "finished runs that were heard, and how alike each is",
)
RUN_PRIOR = (
    "What a run's forecasts take from the other runs of its project",
    "What a run's forecasts take from the finished runs of its project",
)


def upgrade() -> None:
    op.rename_table("finished_run", "offer")
    _rename_parts("finished_run", "offer")
    op.add_column(
        "offer",
        sa.Column(
            "made",
            sa.Double(),
            server_default="1",
            nullable=False,
            comment="share of its steps at the mark it last passed; 1: it has finished",
        ),
    )
    _comment("offer", 0)
    op.execute(f"CREATE VIEW finished_run AS SELECT {COLUMNS} FROM offer WHERE made = 1")


def downgrade() -> None:
    op.execute("DROP VIEW finished_run")
    op.execute("DELETE FROM offer WHERE made < 1")
    op.drop_column("offer", "made")
    op.rename_table("offer", "finished_run")
    _rename_parts("offer", "finished_run")
    _comment("finished_run", 1)


def _rename_parts(old: str, new: str) -> None:
    for name in ("pk_{}", "fk_{}_run_key", "fk_{}_project_id"):
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {name.format(old)} TO {name.format(new)}")
    op.execute(f"ALTER INDEX ix_{old}_project_id_revision RENAME TO ix_{new}_project_id_revision")


def _comment(table: str, which: int) -> None:
    op.create_table_comment(table, OFFER[which])
    op.create_table_comment("run_prior", RUN_PRIOR[which])
    op.alter_column("run_prior", "siblings", comment=SIBLINGS[which])
