"""What the diagnostics said of each run, and the state they go on from

Revision ID: 20261122_diagnoses
Revises: 20261122_track_record

Only adds. Runs that were there before are diagnosed by the worker's sweep, which finds them by their missing row; what
is found in them so late fires no alert.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_diagnoses"
down_revision = "20261122_track_record"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_diagnosis",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("arrivals", sa.BigInteger(), nullable=False, comment="batches of the run that it knows of"),
        sa.Column(
            "starts",
            postgresql.JSONB(),
            nullable=False,
            comment="where later segments began when it was made: segment -> step",
        ),
        sa.Column("read_to", sa.BigInteger(), nullable=True, comment="the last step read; null before any [steps]"),
        sa.Column(
            "is_complete", sa.Boolean(), nullable=False, comment="false while a long run is still read in slices"
        ),
        sa.Column(
            "is_news", sa.Boolean(), nullable=False, comment="false where the run was over before anyone diagnosed it"
        ),
        sa.Column(
            "engine",
            sa.LargeBinary(),
            nullable=True,
            comment="app.diagnostics.engine, versioned bytes; null: begin anew",
        ),
        sa.Column("conclusions", postgresql.JSONB(), nullable=False, comment="states, risks and metrics that are read"),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it last took in points",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_diagnosis_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", name=op.f("pk_run_diagnosis")),
        comment="Where the diagnoses of a run stand, so that a refit reads only what is new",
    )
    op.create_table(
        "diagnosis_event",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("id", sa.Text(), nullable=False, comment="kind, metric and step: the same in each version"),
        sa.Column("kind", sa.Text(), nullable=False, comment="what happened"),
        sa.Column("severity", sa.Text(), nullable=False, comment="info, warning or critical"),
        sa.Column("step", sa.BigInteger(), nullable=False, comment="where it shows [steps]"),
        sa.Column("raised_at", sa.BigInteger(), nullable=False, comment="where it could be said [steps]"),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True, comment="where it was over; null while open [steps]"),
        sa.Column("outcome", sa.Text(), nullable=False, comment="how it went on; empty while that is not known"),
        sa.Column("details", postgresql.JSONB(), nullable=False, comment="message, probability, evidence, inputs"),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_diagnosis_event_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "id", name=op.f("pk_diagnosis_event")),
        comment="What was said of a run, each in its last version",
    )


def downgrade() -> None:
    op.drop_table("diagnosis_event")
    op.drop_table("run_diagnosis")
