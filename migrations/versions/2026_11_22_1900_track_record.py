"""The track record: how runs ended, and every forecast's scores against that

Revision ID: 20261122_track_record
Revises: 20261122_finished_runs

Only adds. Runs that had ended before are scored by the worker's sweep, which finds them by their empty scored_revision.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261122_track_record"
down_revision = "20261122_finished_runs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "run_progress",
        sa.Column(
            "scored_revision",
            sa.BigInteger(),
            nullable=True,
            comment="revision at which its forecasts were scored; null before",
        ),
    )
    op.create_table(
        "run_outcome",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("metric", sa.Text(), nullable=False, comment="what was forecast"),
        sa.Column("end_step", sa.BigInteger(), nullable=False, comment="its last step [steps]"),
        sa.Column(
            "actual",
            sa.Double(),
            nullable=True,
            comment="mean of the last 2 % of its points; null where one of them is not finite",
        ),
        sa.Column(
            "scored_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was concluded",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_outcome_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "metric", name=op.f("pk_run_outcome")),
        comment="How the forecast metrics of ended runs came out; of no meaning while a run has been taken up again",
    )
    op.create_table(
        "forecast_score",
        sa.Column("forecast_id", sa.BigInteger(), nullable=False, comment="the forecast"),
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="its run, as the forecast says it"),
        sa.Column("metric", sa.Text(), nullable=False, comment="its metric, as the forecast says it"),
        sa.Column(
            "judged_step",
            sa.BigInteger(),
            nullable=False,
            comment="the horizon or the run's end, what came first [steps]",
        ),
        sa.Column(
            "actual",
            sa.Double(),
            nullable=False,
            comment="the level there: mean of the last 2 % of the points up to it",
        ),
        sa.Column(
            "horizon_off", sa.Boolean(), nullable=False, comment="whether the run ended elsewhere than its plan said"
        ),
        sa.Column(
            "stands", sa.Boolean(), nullable=False, comment="false where a restart replaced what it was made from"
        ),
        sa.Column("seen", sa.Double(), nullable=False, comment="cutoff over the run's last step [1]"),
        sa.Column("p05", sa.Double(), nullable=False, comment="quantiles of what was judged"),
        sa.Column("p50", sa.Double(), nullable=False, comment="of the metric"),
        sa.Column("p95", sa.Double(), nullable=False, comment="of the metric"),
        sa.Column("error", sa.Double(), nullable=False, comment="of the median, signed, over the truth [1]"),
        sa.Column("cover50", sa.Boolean(), nullable=False, comment="whether the truth lay in the 50 % band"),
        sa.Column("cover80", sa.Boolean(), nullable=False, comment="whether the truth lay in the 80 % band"),
        sa.Column("cover90", sa.Boolean(), nullable=False, comment="whether the truth lay in the 90 % band"),
        sa.Column("crps_rel", sa.Double(), nullable=False, comment="CRPS over the truth [1]"),
        sa.Column(
            "log_score", sa.Double(), nullable=False, comment="log density at the truth, per truth; at least -10"
        ),
        sa.Column(
            "pit", sa.Double(), nullable=False, comment="probability that the forecast gave to no more than the truth"
        ),
        sa.ForeignKeyConstraint(
            ["forecast_id"], ["forecast.id"], name=op.f("fk_forecast_score_forecast_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("forecast_id", name=op.f("pk_forecast_score")),
        comment="Every forecast of an ended run against what happened; made again whenever its end changes",
    )
    op.create_index("ix_forecast_score_run_key_metric", "forecast_score", ["run_key", "metric"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_forecast_score_run_key_metric", table_name="forecast_score")
    op.drop_table("forecast_score")
    op.drop_table("run_outcome")
    op.drop_column("run_progress", "scored_revision")
