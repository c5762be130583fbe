"""Verdicts on runs, what projects want of them, and the log of stops

Revision ID: 20261122_verdicts
Revises: 20261122_diagnoses

Only adds. Without a row in project_policy a project only gets advice. Runs that ended before are judged by the worker's
sweep, which finds them by their missing row; only their final level is kept.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261122_verdicts"
down_revision = "20261122_diagnoses"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project_policy",
        sa.Column("project_id", sa.BigInteger(), nullable=False, comment="the project"),
        sa.Column("mode", sa.Text(), nullable=False, comment="what a stop verdict does: advise, ask or stop"),
        sa.Column("policy", sa.Text(), nullable=False, comment="by which rule runs are judged, app.verdicts.policies"),
        sa.Column(
            "parameters",
            postgresql.JSONB(),
            nullable=False,
            comment="of the rule: name -> number; what is left out has a default",
        ),
        sa.Column("goals", postgresql.JSONB(), nullable=False, comment="metric -> target, delta and budget_steps"),
        sa.Column("revision", sa.BigInteger(), nullable=False, comment="grows with each change"),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="the last change",
        ),
        sa.CheckConstraint("mode in ('advise', 'ask', 'stop')", name=op.f("ck_project_policy_mode_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_project_policy_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project_policy")),
        comment="What a project wants of its runs, and what may be done about it; without a row: advise",
    )
    op.create_table(
        "project_baseline",
        sa.Column("project_id", sa.BigInteger(), nullable=False, comment="the project"),
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="a run of it"),
        sa.Column(
            "pinned_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_project_baseline_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_project_baseline_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "run_key", name=op.f("pk_project_baseline")),
        comment="Runs that somebody pinned for others to be compared with",
    )
    op.create_index(op.f("ix_project_baseline_run_key"), "project_baseline", ["run_key"])
    op.create_table(
        "run_verdict",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("metric", sa.Text(), nullable=False, comment="what it is judged by"),
        sa.Column("segment", sa.Integer(), nullable=False, comment="the run's (re)start in which it was judged"),
        sa.Column("step", sa.BigInteger(), nullable=False, comment="the last step that was known [steps]"),
        sa.Column("is_acted_on", sa.Boolean(), nullable=False, comment="whether this metric decides for the run"),
        sa.Column("decision", sa.Text(), comment="continue, stop or undecided; null once the run has ended"),
        sa.Column("since_step", sa.BigInteger(), comment="from where on it has been that without a break [steps]"),
        sa.Column(
            "looks", sa.Integer(), nullable=False, server_default="0", comment="judgements in a row that came to that"
        ),
        sa.Column("final_level", sa.Double(), comment="of an ended run: mean of the last 2 % of its steps"),
        sa.Column(
            "policy_revision",
            sa.BigInteger(),
            nullable=False,
            comment="project_policy.revision that it was judged by",
        ),
        sa.Column("details", postgresql.JSONB(), nullable=False, comment="the verdict whole, goal and time left"),
        sa.Column(
            "judged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"
        ),
        sa.CheckConstraint("decision in ('continue', 'stop', 'undecided')", name=op.f("ck_run_verdict_decision_known")),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_verdict_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "metric", name=op.f("pk_run_verdict")),
        comment="The newest verdict on each metric of a run, and where ended runs came to",
    )
    op.create_table(
        "run_pace",
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("arrivals", sa.BigInteger(), nullable=False, comment="batches of the run that it knows of"),
        sa.Column(
            "marks",
            postgresql.JSONB(),
            nullable=False,
            comment="[step, time in s since 1970], both rising, thinned",
        ),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_run_pace_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", name=op.f("pk_run_pace")),
        comment="When a run was where: what its time left is judged from",
    )
    op.create_table(
        "stop_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="key inside the database"),
        sa.Column("run_key", sa.BigInteger(), nullable=False, comment="the run"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment="when"),
        sa.Column("segment", sa.Integer(), nullable=False, comment="the run's (re)start"),
        sa.Column("step", sa.BigInteger(), comment="the last step that was known [steps]"),
        sa.Column("event", sa.Text(), nullable=False, comment="proposed, ordered, declined, withdrawn or heard"),
        sa.Column("author", sa.Text(), nullable=False, comment="policy, person or job"),
        sa.Column("why", sa.Text(), nullable=False, comment="one sentence for people"),
        sa.Column(
            "evidence",
            postgresql.JSONB(),
            nullable=False,
            comment="the verdict, the forecast and the settings behind it",
        ),
        sa.CheckConstraint(
            "event in ('proposed', 'ordered', 'declined', 'withdrawn', 'heard')",
            name=op.f("ck_stop_log_event_known"),
        ),
        sa.CheckConstraint("author in ('policy', 'person', 'job')", name=op.f("ck_stop_log_author_known")),
        sa.ForeignKeyConstraint(["run_key"], ["run.key"], name=op.f("fk_stop_log_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stop_log")),
        comment="Every step on the way to a stop, with its evidence: inserted, never updated",
    )
    op.create_index("ix_stop_log_run_key_id", "stop_log", ["run_key", sa.text("id DESC")])


def downgrade() -> None:
    op.drop_table("stop_log")
    op.drop_table("run_pace")
    op.drop_table("run_verdict")
    op.drop_table("project_baseline")
    op.drop_table("project_policy")
