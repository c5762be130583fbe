"""What goes over the wire, apart from the points themselves: those have `app.api.parsing`, which is faster."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.api.slips import ignored_fields
from app.storage.json import storable_text
from app.storage.metric_names import stored_metric

# Anything a file system, a URL and a person can carry; "/" is left to the URL.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,199}")


def _run_id(value: str) -> str:
    if _RUN_ID.fullmatch(value) is None:
        raise PydanticCustomError(
            "run_id",
            "A run's id is made of letters from a to z, digits and . _ ~ -, begins with a letter or digit, and has at "
            "most 200 characters",
        )
    return value


RunId = Annotated[str, AfterValidator(_run_id), WithJsonSchema({"type": "string", "pattern": f"^{_RUN_ID.pattern}$"})]

StoredText = Annotated[str, AfterValidator(storable_text)]
"""Text as it is stored, so that what is looked up by it is found."""

MetricName = Annotated[str, AfterValidator(stored_metric)]
"""A metric as it was logged, or as it is stored."""

Name = Annotated[StoredText, StringConstraints(min_length=1, max_length=500)]


def _whole(value: object) -> object:
    """Reads 2e4 and "2e4" too; of other numbers and of text it says what is needed."""
    if not isinstance(value, str | float):
        return value
    try:
        return int(value) if isinstance(value, str) else _int_of(value)
    except ValueError:
        pass
    try:
        return _int_of(float(value))
    except (ValueError, OverflowError):
        raise PydanticCustomError("whole_number", "A whole number is needed, such as 20000 or 2e4") from None


def _int_of(number: float) -> int:
    if not number.is_integer():
        raise ValueError(number)
    return int(number)


Whole = Annotated[int, BeforeValidator(_whole)]
Step = Annotated[Whole, Field(ge=-(2**63), lt=2**63)]
StepCount = Annotated[Whole, Field(ge=1, lt=2**62)]
MOST_NAMED, LONGEST_NAMED = 5, 60  # unknown fields in a sentence, and letters of each
Number = float | str | None  # NaN and the infinities travel as strings


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Asked(Wire):
    """A question: it stores nothing, so a field that we do not know is a slip and not news from a newer client."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _names_what_it_does_not_know(cls, said: object) -> object:
        unknown = sorted(set(said) - set(cls.model_fields)) if isinstance(said, dict) else []
        if unknown:
            named = ", ".join(repr(str(name)[:LONGEST_NAMED]) for name in unknown[:MOST_NAMED])
            raise PydanticCustomError(
                "unknown_field",
                "There is no field {named} here; there are: {fields}",
                {"named": named, "fields": ", ".join(cls.model_fields)},
            )
        return said


class Told(Wire):
    """What a job tells: a field that we do not know must not cost it the rest; the answer's warnings name it."""

    model_config = ConfigDict(extra="allow")

    @property
    def slips(self) -> list[str]:
        return ignored_fields(self.model_extra or (), list(type(self).model_fields))


class CreateRun(Told):
    """A job announcing itself, for the first time or after a restart."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "llama-25m-07",
                "project": "pretraining",
                "config": {"batch_size": 512, "optimizer": "adamw"},
                "plan": {"total_steps": 24000, "schedule": {"family": "cosine", "warmup_steps": 2160}},
                "session": "3f1c9a",
            }
        }
    )
    id: RunId | None = Field(None, description="Made by the job, so that it need not wait for us; else we make one.")
    project: Name = "default"
    name: Name | None = None
    config: dict[str, Any] | None = Field(None, description="The job's settings; horizon and schedule are read off it.")
    tags: list[Name] | None = Field(None, max_length=100)
    plan: dict[str, Any] | None = Field(None, description="total_steps and schedule; docs/schedules.md has the forms.")
    roles: dict[str, str] | None = Field(None, description="Metric name to role, where our table would guess wrong.")
    session: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="The job's id of this process start. The same again is a retry, a new one a restart."
    )
    resume_step: Step | None = Field(
        None, description="The checkpoint's own step: older points beyond it are replaced once this start logs."
    )


class RunOpened(Wire):
    id: str
    project: str
    name: str
    segment: int = Field(description="Send it with every batch: with seq it is the idempotency key.")
    url: str
    created: bool
    warnings: list[str] = Field([], description="What of the request was not heeded.")


class ChangeRun(Asked):
    """What may be changed afterwards; what is left out stays."""

    name: Name | None = None
    tags: list[Name] | None = Field(None, max_length=100)
    plan: dict[str, Any] | None = None
    roles: dict[str, str] | None = None


class FinishRun(Told):
    status: Literal["finished", "failed", "stopped"] = "finished"
    message: Annotated[str, StringConstraints(max_length=10_000)] | None = None


class BatchStored(Wire):
    stored: int = Field(description="Values stored; 0 for a duplicate.")
    duplicate: bool
    segment: int
    seq: int
    warnings: list[str] = []


class Done(Wire):
    ok: Literal[True] = True
    warnings: list[str] = Field([], description="What of the request was not heeded.")


class ForecastSummary(Wire):
    cutoff: int
    horizon: int
    made_at: datetime
    final_mean: Number
    p05: Number
    p50: Number
    p95: Number


class PlanView(Wire):
    total_steps: int | None
    total_source: str | None = Field(description="declared, inferred, assumed; ended: the run has finished")
    total_why: str | None
    schedule_family: str | None
    schedule_source: str | None
    schedule_why: str | None


class RunView(Wire):
    id: str
    project: str
    name: str
    status: str
    created_at: datetime
    last_seen_at: datetime
    finished_at: datetime | None
    exit_message: str | None
    segment: int
    last_step: int | None
    metric: str | None = Field(description="The loss that is forecast; null before the first refit.")
    last_value: Number
    plan: PlanView
    forecast: ForecastSummary | None
    open_alerts: int = Field(description="How many alerts are open now: none once the run is over.")
    tags: list[str]


class RunDetail(RunView):
    config: dict[str, Any]
    declared_plan: dict[str, Any]
    roles: dict[str, Any] = Field(description="Metric to role, and the rule that decided it.")
    segments: list[dict[str, Any]]
    notes: list[str]


class RunList(Wire):
    runs: list[RunView]
    total: int
    limit: int
    offset: int


class SeriesView(Wire):
    metric: str
    role: str | None
    rule: str | None
    points: int
    first_step: int | None
    last_step: int | None
    last_value: Number


class PointsView(Wire):
    metric: str
    steps: list[int]
    values: list[Number]
    times: list[float | None] | None = Field(description="Wall clock in s since 1970; null where the job sent none.")


class SeriesList(Wire):
    series: list[SeriesView]


class PathPoint(Wire):
    step: int
    p05: Number
    p25: Number
    p50: Number
    p75: Number
    p95: Number


class SiblingView(Wire):
    id: str
    name: str | None = Field(description="null: the run has been deleted since.")
    similarity: float = Field(description="How alike it is, and so how much it counts, in [0, 1].")
    made: float = Field(
        description="1: it had finished. Else it was still going, and had made this share of its steps at least: "
        "0.2, 0.4, 0.6 or 0.8."
    )


class PriorView(Wire):
    """What the forecast was judged from before anything was seen of the run."""

    source: Literal["project", "population"] = Field(
        description="project: other runs of this project, beside public ones; population: public ones only."
    )
    runs: list[SiblingView]


class ForecastView(Wire):
    metric: str
    cutoff: int
    horizon: int
    made_at: datetime
    schedule: dict[str, Any]
    final: dict[str, Number]
    path: list[PathPoint]
    forecasters: dict[str, Any]
    direction: Literal["falls", "rises"] = Field(description="As training succeeds: a loss falls, an accuracy rises.")
    bounds: tuple[float, float] | None = Field(description="What an accuracy lies between; null: a loss.")
    improvement: float | None = Field(
        description="Probability of a new best level before the end, by the network: the lowest so far, or the highest."
    )
    prior: PriorView
    notes: list[str]


class ForecastHistory(Wire):
    metric: str | None
    forecasts: list[ForecastSummary]


class AlertView(Wire):
    id: int
    run_id: str
    project: str
    run_name: str
    kind: str
    severity: str
    metric: str | None
    step: int
    message: str
    evidence: dict[str, Any]
    state: str = Field(description="open | run_over (it had not passed when the run ended) | resolved")
    fired_at: datetime
    resolved_at: datetime | None
    deliveries: list[dict[str, Any]] = []


class AlertList(Wire):
    alerts: list[AlertView]


class ProjectList(Wire):
    projects: list[str]


class ErrorBody(Wire):
    """Every error has this form."""

    error: str = Field(description="A short code for programs.")
    message: str = Field(description="What is wrong and what to do about it.")
    detail: list[dict[str, Any]] | None = None


def number(value: float | None) -> Number:
    """A float as JSON can carry it."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def numbers(values: Mapping[str, float]) -> dict[str, Number]:
    return {name: number(value) for name, value in values.items()}
