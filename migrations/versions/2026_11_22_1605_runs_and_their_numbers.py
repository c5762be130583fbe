"""Runs and their numbers: the batch log, its chunks, and what is concluded from them

Revision ID: 20261122_runs
Revises: 20261122_job_queue

The version before this one may still be running beside it: add, fill, switch, drop, in separate releases.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_runs"
down_revision = "20261122_job_queue"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("name", sa.Text(), nullable=False, comment="who or what uses it"),
        sa.Column("prefix", sa.Text(), nullable=False, comment="its first characters, to tell keys apart"),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="of the whole key; the key itself is not kept"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True, comment="null while it is good"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_key_sha256")),
        comment="Keys that open the API and the pages",
    )
    op.create_table(
        "project",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("name", sa.Text(), nullable=False, comment="what users call it"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="first run's arrival",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("name", name=op.f("uq_project_name")),
        comment="A set of runs that belong together",
    )
    op.create_table(
        "run",
        sa.Column("key", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("id", sa.Text(), nullable=False, comment="the id that the job made or was given"),
        sa.Column("project_id", sa.BigInteger(), nullable=False, comment="its project"),
        sa.Column("name", sa.Text(), nullable=False, comment="what users call it"),
        sa.Column(
            "status",
            sa.Text(),
            server_default="running",
            nullable=False,
            comment="running, finished, failed or stopped",
        ),
        sa.Column(
            "config",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="what the job said of its settings",
        ),
        sa.Column(
            "tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False, comment="free labels"
        ),
        sa.Column(
            "declared_plan",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="total steps and schedule",
        ),
        sa.Column(
            "declared_roles",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="metric -> role, by a person",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when first heard of",
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the job said it was over; null while it runs",
        ),
        sa.Column("exit_message", sa.Text(), nullable=True, comment="the job's last words"),
        sa.CheckConstraint("status in ('running', 'finished', 'failed', 'stopped')", name=op.f("ck_run_status_known")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_run_project_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_run")),
        sa.UniqueConstraint("id", name=op.f("uq_run_id")),
        comment="One training job's history",
    )
    op.create_index(
        "ix_run_created_at", "run", [sa.literal_column("created_at DESC"), sa.literal_column("key DESC")], unique=False
    )
    op.create_index(op.f("ix_run_project_id"), "run", ["project_id"], unique=False)
    op.create_table(
        "alert",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("kind", sa.Text(), nullable=False, comment="what kind of trouble"),
        sa.Column("severity", sa.Text(), nullable=False, comment="info, warning or critical"),
        sa.Column(
            "metric", sa.Text(), server_default="", nullable=False, comment="the metric it concerns; empty for the run"
        ),
        sa.Column("step", sa.BigInteger(), nullable=False, comment="the step it concerns [steps]"),
        sa.Column("message", sa.Text(), nullable=False, comment="one sentence for people"),
        sa.Column(
            "evidence",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="the numbers behind it",
        ),
        sa.Column(
            "fired_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it fired",
        ),
        sa.Column(
            "resolved_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when its cause had passed; null while open",
        ),
        sa.CheckConstraint("severity in ('info', 'warning', 'critical')", name=op.f("ck_alert_severity_known")),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_alert_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
        comment="Alerts: at most one open for each run, kind and metric",
    )
    op.create_index("ix_alert_run_key", "alert", ["run_key"], unique=False)
    op.create_index(
        "uq_alert_open",
        "alert",
        ["run_key", "kind", "metric"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "forecast",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("metric", sa.Text(), nullable=False, comment="what is forecast"),
        sa.Column(
            "made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"
        ),
        sa.Column("segment", sa.Integer(), nullable=False, comment="the run's (re)start it was made in"),
        sa.Column("cutoff", sa.BigInteger(), nullable=False, comment="the last step it had seen [steps]"),
        sa.Column("horizon", sa.BigInteger(), nullable=False, comment="the last step it speaks of [steps]"),
        sa.Column("final_mean", sa.Double(), nullable=False, comment="expected final value"),
        sa.Column(
            "final_quantiles", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="level -> final value"
        ),
        sa.Column(
            "path", sa.LargeBinary(), nullable=False, comment="steps, quantiles, planned rates; by app.storage.codec"
        ),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the plan it rests on, forecasters and weights, notes",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_forecast_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forecast")),
        comment="Every forecast as it was made: inserted, never updated",
    )
    op.create_index(
        "ix_forecast_run_key_metric_id", "forecast", ["run_key", "metric", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "metric_batch",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("segment", sa.Integer(), nullable=False, comment="the run's (re)start"),
        sa.Column(
            "seq", sa.BigInteger(), nullable=False, comment="the sender's counter: with segment, the idempotency key"
        ),
        sa.Column("arrival", sa.BigInteger(), nullable=False, comment="the run's arrivals counter when it was stored"),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="commit time, nearly",
        ),
        sa.Column("n_points", sa.Integer(), nullable=False, comment="values in it"),
        sa.Column("step_min", sa.BigInteger(), nullable=True, comment="[steps]"),
        sa.Column("step_max", sa.BigInteger(), nullable=True, comment="[steps]"),
        sa.Column("series", sa.ARRAY(sa.BigInteger()), nullable=True, comment="its columns; null once compacted"),
        sa.Column(
            "data",
            sa.LargeBinary(),
            nullable=True,
            comment="rows by app.storage.codec; null once compacted, the key stays",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_metric_batch_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "segment", "seq", name=op.f("pk_metric_batch")),
        comment="The batch log: one row a request, as it came",
    )
    op.create_index("ix_metric_batch_run_key_arrival", "metric_batch", ["run_key", "arrival"], unique=True)
    op.create_index(
        "ix_metric_batch_tail",
        "metric_batch",
        ["run_key", "segment", "seq"],
        unique=False,
        postgresql_where=sa.text("data IS NOT NULL"),
    )
    op.create_table(
        "run_progress",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column(
            "segment", sa.Integer(), server_default="1", nullable=False, comment="the current (re)start, counted from 1"
        ),
        sa.Column("arrivals", sa.BigInteger(), server_default="0", nullable=False, comment="batches stored so far"),
        sa.Column(
            "revision",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="grows with whatever asks for a refit",
        ),
        sa.Column(
            "fitted_revision", sa.BigInteger(), server_default="0", nullable=False, comment="revision at the last refit"
        ),
        sa.Column(
            "fitted_arrivals", sa.BigInteger(), server_default="0", nullable=False, comment="arrivals at the last refit"
        ),
        sa.Column(
            "last_step", sa.BigInteger(), nullable=True, comment="the largest step in the current segment [steps]"
        ),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="batch or heartbeat",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_progress_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", name=op.f("pk_run_progress")),
        comment="What changes with every batch, kept narrow; its row lock puts a run's batches in order",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "run_summary",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("metric", sa.Text(), nullable=True, comment="the loss that lists show"),
        sa.Column("last_step", sa.BigInteger(), nullable=True, comment="of that loss [steps]"),
        sa.Column("last_value", sa.Double(), nullable=True, comment="of that loss"),
        sa.Column("total_steps", sa.BigInteger(), nullable=True, comment="the horizon [steps]"),
        sa.Column("forecast_id", sa.BigInteger(), nullable=True, comment="its newest forecast"),
        sa.Column(
            "conclusions",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="plan and roles, with reasons",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="the last refit",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_summary_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", name=op.f("pk_run_summary")),
        comment="What the last refit concluded, one row a run",
    )
    op.create_table(
        "segment",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("number", sa.Integer(), nullable=False, comment="counted from 1"),
        sa.Column(
            "session", sa.Text(), nullable=False, comment="the job's id of this process start; a retry repeats it"
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it announced itself",
        ),
        sa.Column("resume_step", sa.BigInteger(), nullable=True, comment="where the job said it resumed [steps]"),
        sa.Column("first_step", sa.BigInteger(), nullable=True, comment="the smallest step logged in it [steps]"),
        sa.Column(
            "next_seq",
            sa.BigInteger(),
            server_default="4611686018427387904",
            nullable=False,
            comment="for batches sent without a number",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_segment_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "number", name=op.f("pk_segment")),
        sa.UniqueConstraint("run_key", "session", name=op.f("uq_segment_run_key_session")),
        comment="One (re)start of a run; its points replace earlier ones from resume_step or first_step on",
    )
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("metric", sa.Text(), nullable=False, comment="the name as logged"),
        sa.Column(
            "points", sa.BigInteger(), server_default="0", nullable=False, comment="points received, repeats included"
        ),
        sa.Column("first_step", sa.BigInteger(), nullable=True, comment="the smallest step seen [steps]"),
        sa.Column("last_step", sa.BigInteger(), nullable=True, comment="the newest segment's largest step [steps]"),
        sa.Column("last_segment", sa.Integer(), server_default="0", nullable=False, comment="the segment of last_step"),
        sa.Column(
            "last_value", sa.Double(), nullable=True, comment="the value at last_step; NaN and the infinities are data"
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_series_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("run_key", "metric", name=op.f("uq_series_run_key_metric")),
        comment="One metric of one run",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "alert_delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("alert_id", sa.BigInteger(), nullable=False, comment="the alert"),
        sa.Column("event", sa.Text(), nullable=False, comment="fired or resolved"),
        sa.Column(
            "target_hash", sa.Text(), nullable=False, comment="which configured channel; its URL stays in the settings"
        ),
        sa.Column("target_label", sa.Text(), nullable=False, comment="the channel's URL without secrets"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False, comment="how often it was tried"),
        sa.Column(
            "next_attempt_at", sa.DateTime(timezone=True), nullable=True, comment="null once delivered or given up"
        ),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True, comment="when the receiver took it"),
        sa.Column("last_error", sa.Text(), nullable=True, comment="why the last try failed"),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alert.id"], name=op.f("fk_alert_delivery_alert_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_delivery")),
        sa.UniqueConstraint(
            "alert_id", "event", "target_hash", name=op.f("uq_alert_delivery_alert_id_event_target_hash")
        ),
        comment="One message to one channel, with its retries",
    )
    op.create_index(
        "ix_alert_delivery_due",
        "alert_delivery",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_table(
        "curve_state",
        sa.Column("series_id", sa.BigInteger(), nullable=False, comment="the series"),
        sa.Column("arrivals", sa.BigInteger(), nullable=False, comment="batches of the run that it has taken in"),
        sa.Column(
            "starts",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="where later segments began when it was made: segment -> step",
        ),
        sa.Column("reduction", sa.LargeBinary(), nullable=False, comment="app.curves.reduction, versioned bytes"),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_curve_state_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_curve_state")),
        comment="A curve reduced to a few hundred bins, so that a refit reads only what is new",
    )
    op.create_table(
        "series_chunk",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("series_id", sa.BigInteger(), nullable=False, comment="the series"),
        sa.Column("segment", sa.Integer(), nullable=False, comment="the run's (re)start; chunks never mix two"),
        sa.Column("step_min", sa.BigInteger(), nullable=False, comment="[steps]"),
        sa.Column("step_max", sa.BigInteger(), nullable=False, comment="[steps]"),
        sa.Column("n_points", sa.Integer(), nullable=False, comment="points in it, at most 16384"),
        sa.Column("codec", sa.SmallInteger(), nullable=False, comment="version of app.storage.codec's chunk form"),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="steps, values, times, seqs; compressed by us"),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_series_chunk_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series_chunk")),
        comment="Compacted points: within a chunk steps rise strictly and the latest seq has won",
    )
    op.create_index(
        "ix_series_chunk_series_id_segment_step_min", "series_chunk", ["series_id", "segment", "step_min"], unique=False
    )
    # What we compressed ourselves must not be tried again, and a batch is read whole.
    op.execute("ALTER TABLE metric_batch ALTER COLUMN data SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE series_chunk ALTER COLUMN data SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE curve_state ALTER COLUMN reduction SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_index("ix_series_chunk_series_id_segment_step_min", table_name="series_chunk")
    op.drop_table("series_chunk")
    op.drop_table("curve_state")
    op.drop_index(
        "ix_alert_delivery_due", table_name="alert_delivery", postgresql_where=sa.text("next_attempt_at IS NOT NULL")
    )
    op.drop_table("alert_delivery")
    op.drop_table("series")
    op.drop_table("segment")
    op.drop_table("run_summary")
    op.drop_table("run_progress")
    op.drop_index("ix_metric_batch_tail", table_name="metric_batch", postgresql_where=sa.text("data IS NOT NULL"))
    op.drop_index("ix_metric_batch_run_key_arrival", table_name="metric_batch")
    op.drop_table("metric_batch")
    op.drop_index("ix_forecast_run_key_metric_id", table_name="forecast")
    op.drop_table("forecast")
    op.drop_index("uq_alert_open", table_name="alert", postgresql_where=sa.text("resolved_at IS NULL"))
    op.drop_index("ix_alert_run_key", table_name="alert")
    op.drop_table("alert")
    op.drop_index(op.f("ix_run_project_id"), table_name="run")
    op.drop_index("ix_run_created_at", table_name="run")
    op.drop_table("run")
    op.drop_table("project")
    op.drop_table("api_key")
