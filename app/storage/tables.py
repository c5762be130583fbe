"""The tables. Seen only by this package and by the migrations; every column says what it holds.

Two tiers hold the numbers (docs/decisions/0002-two-tier-storage.md): `metric_batch` keeps each request as it came, and
`series_chunk` keeps what compaction made of it.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_now = func.now()
_empty_object = text("'{}'::jsonb")

project = Table(
    "project",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("name", Text, nullable=False, unique=True, comment="what users call it"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="first run's arrival"),
    Column(
        "siblings_revision", BigInteger, nullable=False, server_default="0", comment="grows as its finished runs change"
    ),
    comment="A set of runs that belong together",
)

run = Table(
    "run",
    metadata,
    Column("key", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("id", Text, nullable=False, unique=True, comment="the id that the job made or was given"),
    Column("project_id", ForeignKey("project.id"), nullable=False, index=True, comment="its project"),
    Column("name", Text, nullable=False, comment="what users call it"),
    Column("status", Text, nullable=False, server_default="running", comment="running, finished, failed or stopped"),
    Column("config", JSONB, nullable=False, server_default=_empty_object, comment="what the job said of its settings"),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]"), comment="free labels"),
    Column("declared_plan", JSONB, nullable=False, server_default=_empty_object, comment="total steps and schedule"),
    Column(
        "declared_roles", JSONB, nullable=False, server_default=_empty_object, comment="metric -> role, by a person"
    ),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when first heard of"),
    Column("finished_at", DateTime(timezone=True), comment="when the job said it was over; null while it runs"),
    Column("exit_message", Text, comment="the job's last words"),
    CheckConstraint("status in ('running', 'finished', 'failed', 'stopped')", name="status_known"),
    Index("ix_run_created_at", text("created_at DESC"), text("key DESC")),
    comment="One training job's history",
)

run_progress = Table(
    "run_progress",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("segment", Integer, nullable=False, server_default="1", comment="the current (re)start, counted from 1"),
    Column("arrivals", BigInteger, nullable=False, server_default="0", comment="batches stored so far"),
    Column("revision", BigInteger, nullable=False, server_default="0", comment="grows with whatever asks for a refit"),
    Column("fitted_revision", BigInteger, nullable=False, server_default="0", comment="revision at the last refit"),
    Column("fitted_arrivals", BigInteger, nullable=False, server_default="0", comment="arrivals at the last refit"),
    Column("last_step", BigInteger, comment="the largest step in the current segment [steps]"),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="batch or heartbeat"),
    Column("scored_revision", BigInteger, comment="revision at which its forecasts were scored; null before"),
    Column("failures", Integer, nullable=False, server_default="0", comment="refits in a row that failed at failed_at"),
    Column("failed_at", Text, comment="revision and version of the software at which refits failed; null: none did"),
    comment="What changes with every batch, kept narrow; its row lock puts a run's batches in order",
    postgresql_with={"fillfactor": "50"},
)

deleted_run = Table(
    "deleted_run",
    metadata,
    Column("id", Text, primary_key=True, comment="the id that it had; made anew, it leaves this table"),
    Column("deleted_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when"),
    comment="What is left of a deleted run: jobs that still write to it are told",
)

segment = Table(
    "segment",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("number", Integer, primary_key=True, comment="counted from 1"),
    Column("session", Text, nullable=False, comment="the job's id of this process start; a retry repeats it"),
    Column(
        "started_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when it announced itself"
    ),
    Column("resume_step", BigInteger, comment="the checkpoint that the job said it resumed from [steps]"),
    Column("first_step", BigInteger, comment="the smallest step logged in it [steps]"),
    Column(
        "asked_at", DateTime(timezone=True), comment="when it last asked whether to stop, to the minute; null: never"
    ),
    Column(
        "next_seq",
        BigInteger,
        nullable=False,
        # A range of their own: a sender that numbers its batches from 0 must not find a number taken.
        server_default=str(2**62),
        comment="for batches sent without a number",
    ),
    UniqueConstraint("run_key", "session"),
    comment="One (re)start of a run; once it logs, it replaces earlier points beyond resume_step, or from first_step",
)

series = Table(
    "series",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), nullable=False, comment="the run"),
    Column("metric", Text, nullable=False, comment="the name as logged"),
    Column("points", BigInteger, nullable=False, server_default="0", comment="points received, repeats included"),
    Column("first_step", BigInteger, comment="the smallest step seen [steps]"),
    Column("last_step", BigInteger, comment="the newest segment's largest step [steps]"),
    Column("last_segment", Integer, nullable=False, server_default="0", comment="the segment of last_step"),
    Column("last_value", Double, comment="the value at last_step; NaN and the infinities are data"),
    UniqueConstraint("run_key", "metric"),
    comment="One metric of one run",
    postgresql_with={"fillfactor": "70"},
)

metric_batch = Table(
    "metric_batch",
    metadata,
    Column("run_key", BigInteger, primary_key=True, comment="the run"),
    Column("segment", Integer, primary_key=True, comment="the run's (re)start"),
    Column("seq", BigInteger, primary_key=True, comment="the sender's counter: with segment, the idempotency key"),
    Column("arrival", BigInteger, nullable=False, comment="the run's arrivals counter when it was stored"),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="commit time, nearly"),
    Column("n_points", Integer, nullable=False, comment="values in it"),
    Column("step_min", BigInteger, comment="[steps]"),
    Column("step_max", BigInteger, comment="[steps]"),
    Column("series", ARRAY(BigInteger), comment="its columns; null once compacted"),
    Column("data", LargeBinary, comment="rows by app.storage.codec; null once compacted, the key stays"),
    ForeignKeyConstraint(["run_key"], ["run.key"], ondelete="CASCADE"),
    Index("ix_metric_batch_run_key_arrival", "run_key", "arrival", unique=True),
    Index("ix_metric_batch_tail", "run_key", "segment", "seq", postgresql_where=text("data IS NOT NULL")),
    comment="The batch log: one row a request, as it came",
)

series_chunk = Table(
    "series_chunk",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False, comment="the series"),
    Column("segment", Integer, nullable=False, comment="the run's (re)start; chunks never mix two"),
    Column("step_min", BigInteger, nullable=False, comment="[steps]"),
    Column("step_max", BigInteger, nullable=False, comment="[steps]"),
    Column("n_points", Integer, nullable=False, comment="points in it, at most 16384"),
    Column("codec", SmallInteger, nullable=False, comment="version of app.storage.codec's chunk form"),
    Column("data", LargeBinary, nullable=False, comment="steps, values, times, seqs; compressed by us"),
    Index("ix_series_chunk_series_id_segment_step_min", "series_id", "segment", "step_min"),
    comment="Compacted points: within a chunk steps rise strictly and the latest seq has won",
)

curve_state = Table(
    "curve_state",
    metadata,
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), primary_key=True, comment="the series"),
    Column("arrivals", BigInteger, nullable=False, comment="batches of the run that it has taken in"),
    Column("starts", JSONB, nullable=False, comment="where later segments began when it was made: segment -> step"),
    Column("reduction", LargeBinary, nullable=False, comment="app.curves.reduction, versioned bytes"),
    comment="A curve reduced to a few hundred bins, so that a refit reads only what is new",
)

run_summary = Table(
    "run_summary",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("metric", Text, comment="the loss that lists show"),
    Column("last_step", BigInteger, comment="of that loss [steps]"),
    Column("last_value", Double, comment="of that loss"),
    Column("total_steps", BigInteger, comment="the horizon [steps]"),
    Column("forecast_id", BigInteger, comment="its newest forecast"),
    Column("conclusions", JSONB, nullable=False, server_default=_empty_object, comment="plan and roles, with reasons"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="the last refit"),
    comment="What the last refit concluded, one row a run",
)

offer = Table(
    "offer",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("project_id", ForeignKey("project.id"), nullable=False, comment="its project"),
    Column("revision", BigInteger, nullable=False, comment="the project's siblings_revision when this was written"),
    Column("rules", Integer, nullable=False, comment="version of the rules by which it was judged"),
    Column("arrivals", BigInteger, nullable=False, comment="batches of the run that had been taken in"),
    Column("traits", JSONB, nullable=False, comment="what of its config runs are compared by"),
    Column("losses", JSONB, nullable=False, comment="metric -> role and levels; empty where it has nothing to say"),
    Column(
        "made",
        Double,
        nullable=False,
        server_default="1",
        comment="share of its steps at the mark it last passed; 1: it has finished",
    ),
    Index("ix_offer_project_id_revision", "project_id", text("revision DESC")),
    comment="Runs as the others of their project see them: finished, or a fifth made at least",
)

run_prior = Table(
    "run_prior",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("metric", Text, primary_key=True, comment="what is forecast"),
    Column("prior", JSONB, comment="learned from the siblings, app.laws.prior; null: the population's"),
    Column("siblings", JSONB, nullable=False, comment="runs that were heard, with their likeness and the share made"),
    Column("sibling_keys", ARRAY(BigInteger), nullable=False, comment="the same runs, by their keys"),
    Column("siblings_revision", BigInteger, nullable=False, comment="the project's when they were chosen"),
    Column("inputs", Text, nullable=False, comment="digest of whatever else the prior depends on"),
    Column("cutoff", BigInteger, nullable=False, comment="the run's last step when they were chosen [steps]"),
    Column("learned_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when it was learned"),
    comment="What a run's forecasts take from the other runs of its project",
)

forecast = Table(
    "forecast",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), nullable=False, comment="the run"),
    Column("metric", Text, nullable=False, comment="what is forecast"),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when"),
    Column("segment", Integer, nullable=False, comment="the run's (re)start it was made in"),
    Column("cutoff", BigInteger, nullable=False, comment="the last step it had seen [steps]"),
    Column("horizon", BigInteger, nullable=False, comment="the last step it speaks of [steps]"),
    Column("final_mean", Double, nullable=False, comment="expected final value"),
    Column("final_quantiles", JSONB, nullable=False, comment="level -> final value"),
    Column("path", LargeBinary, nullable=False, comment="steps, quantiles, planned rates; by app.storage.codec"),
    Column("details", JSONB, nullable=False, comment="the plan it rests on, forecasters and weights, notes"),
    Index("ix_forecast_run_key_metric_id", "run_key", "metric", text("id DESC")),
    comment="Every forecast as it was made: inserted, never updated",
)

run_outcome = Table(
    "run_outcome",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("metric", Text, primary_key=True, comment="what was forecast"),
    Column("end_step", BigInteger, nullable=False, comment="its last step [steps]"),
    Column("actual", Double, comment="mean of the last 2 % of its points; null where one of them is not finite"),
    Column("scored_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when it was concluded"),
    comment="How the forecast metrics of ended runs came out; of no meaning while a run has been taken up again",
)

forecast_score = Table(
    "forecast_score",
    metadata,
    Column("forecast_id", ForeignKey("forecast.id", ondelete="CASCADE"), primary_key=True, comment="the forecast"),
    Column("run_key", BigInteger, nullable=False, comment="its run, as the forecast says it"),
    Column("metric", Text, nullable=False, comment="its metric, as the forecast says it"),
    Column("judged_step", BigInteger, nullable=False, comment="the horizon or the run's end, what came first [steps]"),
    Column("actual", Double, nullable=False, comment="the level there: mean of the last 2 % of the points up to it"),
    Column("horizon_off", Boolean, nullable=False, comment="whether the run ended elsewhere than its plan said"),
    Column("stands", Boolean, nullable=False, comment="false where a restart replaced what it was made from"),
    Column("seen", Double, nullable=False, comment="cutoff over the run's last step [1]"),
    Column("p05", Double, nullable=False, comment="quantiles of what was judged"),
    Column("p50", Double, nullable=False, comment="of the metric"),
    Column("p95", Double, nullable=False, comment="of the metric"),
    Column("error", Double, nullable=False, comment="of the median, signed, over the truth [1]"),
    Column("cover50", Boolean, nullable=False, comment="whether the truth lay in the 50 % band"),
    Column("cover80", Boolean, nullable=False, comment="whether the truth lay in the 80 % band"),
    Column("cover90", Boolean, nullable=False, comment="whether the truth lay in the 90 % band"),
    Column("crps_rel", Double, nullable=False, comment="CRPS over the truth [1]"),
    Column("log_score", Double, nullable=False, comment="log density at the truth, per truth; at least -10"),
    Column("pit", Double, nullable=False, comment="probability that the forecast gave to no more than the truth"),
    Index("ix_forecast_score_run_key_metric", "run_key", "metric"),
    comment="Every forecast of an ended run against what happened; made again whenever its end changes",
)

run_diagnosis = Table(
    "run_diagnosis",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("arrivals", BigInteger, nullable=False, comment="batches of the run that it knows of"),
    Column("starts", JSONB, nullable=False, comment="where later segments began when it was made: segment -> step"),
    Column("read_to", BigInteger, comment="the last step read; null before any [steps]"),
    Column("is_complete", Boolean, nullable=False, comment="false while a long run is still read in slices"),
    Column("is_news", Boolean, nullable=False, comment="false where the run was over before anyone diagnosed it"),
    Column("engine", LargeBinary, comment="app.diagnostics.engine, versioned bytes; null: begin anew"),
    Column("conclusions", JSONB, nullable=False, comment="states, risks and metrics that are read"),
    Column(
        "updated_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=_now,
        comment="when it last took in points",
    ),
    comment="Where the diagnoses of a run stand, so that a refit reads only what is new",
)

diagnosis_event = Table(
    "diagnosis_event",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("id", Text, primary_key=True, comment="kind, metric and step: the same in each version"),
    Column("kind", Text, nullable=False, comment="what happened"),
    Column("severity", Text, nullable=False, comment="info, warning or critical"),
    Column("step", BigInteger, nullable=False, comment="where it shows [steps]"),
    Column("raised_at", BigInteger, nullable=False, comment="where it could be said [steps]"),
    Column("resolved_at", BigInteger, comment="where it was over; null while open [steps]"),
    Column("outcome", Text, nullable=False, comment="how it went on; empty while that is not known"),
    Column("details", JSONB, nullable=False, comment="message, probability, evidence, inputs"),
    comment="What was said of a run, each in its last version",
)

project_policy = Table(
    "project_policy",
    metadata,
    Column("project_id", ForeignKey("project.id", ondelete="CASCADE"), primary_key=True, comment="the project"),
    Column("mode", Text, nullable=False, comment="what a stop verdict does: advise, ask or stop"),
    Column("policy", Text, nullable=False, comment="by which rule runs are judged, app.verdicts.policies"),
    Column("parameters", JSONB, nullable=False, comment="of the rule: name -> number; what is left out has a default"),
    Column("goals", JSONB, nullable=False, comment="metric -> target, delta and budget_steps"),
    Column("revision", BigInteger, nullable=False, comment="grows with each change"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="the last change"),
    CheckConstraint("mode in ('advise', 'ask', 'stop')", name="mode_known"),
    comment="What a project wants of its runs, and what may be done about it; without a row: advise",
)

project_baseline = Table(
    "project_baseline",
    metadata,
    Column("project_id", ForeignKey("project.id", ondelete="CASCADE"), primary_key=True, comment="the project"),
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, index=True, comment="a run of it"),
    Column("pinned_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when"),
    comment="Runs that somebody pinned for others to be compared with",
)

run_verdict = Table(
    "run_verdict",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("metric", Text, primary_key=True, comment="what it is judged by"),
    Column("segment", Integer, nullable=False, comment="the run's (re)start in which it was judged"),
    Column("step", BigInteger, nullable=False, comment="the last step that was known [steps]"),
    Column("is_acted_on", Boolean, nullable=False, comment="whether this metric decides for the run"),
    Column("decision", Text, comment="continue, stop or undecided; null once the run has ended"),
    Column("since_step", BigInteger, comment="from where on it has been that without a break [steps]"),
    Column("looks", Integer, nullable=False, server_default="0", comment="judgements in a row that came to that"),
    Column("final_level", Double, comment="of an ended run: mean of the last 2 % of its steps"),
    Column("policy_revision", BigInteger, nullable=False, comment="project_policy.revision that it was judged by"),
    Column("details", JSONB, nullable=False, comment="the verdict whole, goal and time left"),
    Column("judged_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when"),
    CheckConstraint("decision in ('continue', 'stop', 'undecided')", name="decision_known"),
    comment="The newest verdict on each metric of a run, and where ended runs came to",
)

run_pace = Table(
    "run_pace",
    metadata,
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), primary_key=True, comment="the run"),
    Column("arrivals", BigInteger, nullable=False, comment="batches of the run that it knows of"),
    Column("marks", JSONB, nullable=False, comment="[step, time in s since 1970], both rising, thinned"),
    comment="When a run was where: what its time left is judged from",
)

stop_log = Table(
    "stop_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), nullable=False, comment="the run"),
    Column("at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when"),
    Column("segment", Integer, nullable=False, comment="the run's (re)start"),
    Column("step", BigInteger, comment="the last step that was known [steps]"),
    Column("event", Text, nullable=False, comment="proposed, ordered, declined, withdrawn or heard"),
    Column("author", Text, nullable=False, comment="policy, person or job"),
    Column("why", Text, nullable=False, comment="one sentence for people"),
    Column("evidence", JSONB, nullable=False, comment="the verdict, the forecast and the settings behind it"),
    CheckConstraint(
        "event in ('proposed', 'ordered', 'declined', 'withdrawn', 'heard')",
        name="event_known",
    ),
    CheckConstraint("author in ('policy', 'person', 'job')", name="author_known"),
    Index("ix_stop_log_run_key_id", "run_key", text("id DESC")),
    comment="Every step on the way to a stop, with its evidence: inserted, never updated",
)

alert = Table(
    "alert",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("run_key", ForeignKey("run.key", ondelete="CASCADE"), nullable=False, comment="the run"),
    Column("kind", Text, nullable=False, comment="what kind of trouble"),
    Column("severity", Text, nullable=False, comment="info, warning or critical"),
    Column("metric", Text, nullable=False, server_default="", comment="the metric it concerns; empty for the run"),
    Column("step", BigInteger, nullable=False, comment="the step it concerns [steps]"),
    Column("message", Text, nullable=False, comment="one sentence for people"),
    Column("evidence", JSONB, nullable=False, server_default=_empty_object, comment="the numbers behind it"),
    Column("fired_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when it fired"),
    Column("resolved_at", DateTime(timezone=True), comment="when its cause had passed; null while open"),
    CheckConstraint("severity in ('info', 'warning', 'critical')", name="severity_known"),
    Index(
        "uq_alert_open",
        "run_key",
        "kind",
        "metric",
        unique=True,
        postgresql_where=text("resolved_at IS NULL"),
    ),
    Index("ix_alert_run_key", "run_key"),
    comment="Alerts: at most one open for each run, kind and metric",
)

alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("alert_id", ForeignKey("alert.id", ondelete="CASCADE"), nullable=False, comment="the alert"),
    Column("event", Text, nullable=False, comment="fired or resolved"),
    Column("target_hash", Text, nullable=False, comment="which configured channel; its URL stays in the settings"),
    Column("target_label", Text, nullable=False, comment="the channel's URL without secrets"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="how often it was tried"),
    Column("next_attempt_at", DateTime(timezone=True), comment="null once delivered or given up"),
    Column("delivered_at", DateTime(timezone=True), comment="when the receiver took it"),
    Column("last_error", Text, comment="why the last try failed"),
    UniqueConstraint("alert_id", "event", "target_hash"),
    Index("ix_alert_delivery_due", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    comment="One message to one channel, with its retries",
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="key inside the database"),
    Column("name", Text, nullable=False, comment="who or what uses it"),
    Column("prefix", Text, nullable=False, comment="its first characters, to tell keys apart"),
    Column("sha256", LargeBinary, nullable=False, unique=True, comment="of the whole key; the key itself is not kept"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now, comment="when"),
    Column("revoked_at", DateTime(timezone=True), comment="null while it is good"),
    Column("last_used_at", DateTime(timezone=True), comment="when it last opened, to the minute; null: never"),
    comment="Keys that open the API and the pages",
)
