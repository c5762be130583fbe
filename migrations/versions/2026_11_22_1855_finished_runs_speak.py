"""Finished runs speak: what the next run of their project learns from them

Revision ID: 20261122_finished_runs
Revises: 20261122_runs

Nothing is filled in here: the worker's sweep finds finished runs without a row and judges them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_finished_runs"
down_revision = "20261122_runs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "project",
        sa.Column(
            "siblings_revision",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="grows as its finished runs change",
        ),
    )
    op.create_table(
        "finished_run",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("project_id", sa.BigInteger(), nullable=False, comment="its project"),
        sa.Column(
            "revision", sa.BigInteger(), nullable=False, comment="the project's siblings_revision when this was written"
        ),
        sa.Column("rules", sa.Integer(), nullable=False, comment="version of the rules by which it was judged"),
        sa.Column("arrivals", sa.BigInteger(), nullable=False, comment="batches of the run that had been taken in"),
        sa.Column("traits", postgresql.JSONB(), nullable=False, comment="what of its config runs are compared by"),
        sa.Column(
            "losses",
            postgresql.JSONB(),
            nullable=False,
            comment="metric -> role and levels; empty where it has nothing to say",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_finished_run_run_key"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_finished_run_project_id")),
        sa.PrimaryKeyConstraint("run_key", name=op.f("pk_finished_run")),
        comment="Finished runs as the next runs of their project see them",
    )
    op.create_index(
        "ix_finished_run_project_id_revision", "finished_run", ["project_id", sa.literal_column("revision DESC")]
    )
    op.create_table(
        "run_prior",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("metric", sa.Text(), nullable=False, comment="what is forecast"),
        sa.Column(
            "prior",
            postgresql.JSONB(),
            nullable=True,
            comment="learned from the siblings, app.laws.prior; null: the population's",
        ),
        sa.Column(
            "siblings",
            postgresql.JSONB(),
            nullable=False,
            comment="finished runs that were heard, and how alike each is",
        ),
        sa.Column(
            "sibling_keys", postgresql.ARRAY(sa.BigInteger()), nullable=False, comment="the same runs, by their keys"
        ),
        sa.Column("siblings_revision", sa.BigInteger(), nullable=False, comment="the project's when they were chosen"),
        sa.Column("inputs", sa.Text(), nullable=False, comment="digest of whatever else the prior depends on"),
        sa.Column(
            "cutoff", sa.BigInteger(), nullable=False, comment="the run's last step when they were chosen [steps]"
        ),
        sa.Column(
            "learned_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was learned",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_prior_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "metric", name=op.f("pk_run_prior")),
        comment="What a run's forecasts take from the finished runs of its project",
    )


def downgrade() -> None:
    op.drop_table("run_prior")
    op.drop_table("finished_run")
    op.drop_column("project", "siblings_revision")
