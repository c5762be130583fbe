"""The routes of verdicts: is a run worth going on with, what does a person say, and has the job heard?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field, StringConstraints
from sqlalchemy import Connection

from app.api.schemas import Done, ErrorBody, Step, StoredText, Wire
from app.api.service import NO_RUN, ROUTE_ERRORS, ApiService, Metric, Responses, RunIdPath, Service
from app.errors import LosscastError
from app.storage.stops import StopState, answer_as_person, note_asked, read_stop_state, record_heard
from app.storage.verdicts import StoredVerdict, read_verdict
from app.verdicts.stopping import Mode, StopEvent

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)

log = logging.getLogger(__name__)

CONFLICT: Responses = {
    409: {"model": ErrorBody, "description": "It answers nothing: no stop is proposed, or the run is over."}
}


class GuardView(Wire):
    name: str
    sentence: str


class ComparisonView(Wire):
    run_id: str = Field(description="Empty where it is no run: the target, the run's own best.")
    name: str
    kind: str = Field(description="target, finished, stopped, live, own_best or baseline.")
    value: float = Field(description="Its level, or the median of what is forecast of it.")
    probability: float = Field(description="That the run does not beat it by more than delta.")


class VerdictView(Wire):
    """Whether a run is worth going on with. Undecided, and mostly null, until there is a forecast and a worker."""

    run_id: str
    metric: str | None = Field(
        description="What it is judged by: the metric with a goal, else the one that lists show."
    )
    decision: Literal["continue", "stop", "undecided"]
    sentence: str
    policy: str
    probability: float | None = Field(
        description="That going on does NOT beat all references by more than delta: the best of them, whichever it is."
    )
    reference: str = Field(description="The one that is the hardest to beat by itself.")
    reference_probability: float | None = Field(None, description="That it does NOT beat this one by more than delta.")
    expected_improvement: float | None
    saved: float | None = Field(description="Share of all the run's steps that a stop now would save.")
    saved_steps: int | None
    regret: float | None = Field(description="Expected loss of stopping now, in the metric's unit.")
    regret_interval: tuple[float, float] | None = Field(description="Central 90 % of that loss.")
    next_step: int | None = Field(
        description="When to look again: the next twentieth of the run, or where its planned rate begins to fall. "
        "Each new forecast is judged, so the answer may change before. Null for a stop, and where nothing is left."
    )
    guards: list[GuardView] = Field(description="What forbade a stop.")
    comparisons: list[ComparisonView]
    evidence: dict[str, float | str]
    step: int | None = Field(description="The last step that was known.")
    since_step: int | None = Field(description="From where on the decision has been what it is.")
    confirmed: bool = Field(description="A stop verdict that has held for long enough to count.")
    judged_at: datetime | None
    goal: dict[str, Any] | None = Field(description="When the metric's target is reached, where it has one.")
    time: dict[str, Any] | None = Field(description="When the run ends, by its own clock, and how fast it goes.")
    mode: Mode = Field(description="What a stop verdict does in this project.")
    segment: int = Field(description="The run's (re)start that should_stop speaks to.")
    should_stop: bool = Field(description="Whether the job is to stop now. Never without an entry in the log of stops.")
    stop_sentence: str = Field(description="Why it is, or is not.")


class Answer(Wire):
    """A person's word on a run."""

    model_config = ConfigDict(extra="forbid")
    answer: Literal["stop", "continue", "take_back"] = Field(
        description="stop: yes to a proposed stop. continue: go on, whatever verdicts say. take_back: verdicts count."
    )
    by: Annotated[StoredText, StringConstraints(max_length=200)] = Field(
        "", description="Who says so; kept in the log."
    )


class Heard(Wire):
    segment: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    step: Step | None = None


@router.get("/runs/{run_id}/verdict", tags=["read"], summary="Is it worth going on?", responses=NO_RUN)
async def get_verdict(run_id: RunIdPath, service: Service, metric: Metric = None) -> VerdictView:
    """What a job asks now and then. `should_stop` is true only where the project allows it and the log says why."""

    def read(connection: Connection) -> tuple[StopState, VerdictView]:
        state = read_stop_state(connection, run_id)
        told = state if metric is not None else replace(state, has_asked=True)  # it asks at this moment
        return state, _verdict(told, read_verdict(connection, run_id, metric), metric)

    state, view = await service.read(read)
    if metric is None and state.is_asked_again:
        await _note_asked(service, run_id)
    return view


async def _note_asked(service: ApiService, run_id: str) -> None:
    """For people, who wonder whether an order will be heard; the answer must not wait for it, nor fail with it."""
    try:
        await service.write(lambda connection: note_asked(connection, run_id))
    except LosscastError as error:
        log.warning("that run %s asked whether to stop could not be noted: %s", run_id, error)


@router.post(
    "/runs/{run_id}/verdict/answer",
    tags=["write"],
    summary="Say yes or no to a stop",
    responses={**NO_RUN, **CONFLICT},
)
async def answer_verdict(run_id: RunIdPath, said: Answer, service: Service) -> VerdictView:
    event = {
        "stop": StopEvent.ORDERED,
        "continue": StopEvent.DECLINED,
        "take_back": StopEvent.WITHDRAWN,
    }[said.answer]

    def change(connection: Connection) -> VerdictView:
        answer_as_person(connection, run_id, event, said.by)
        return _verdict(read_stop_state(connection, run_id), read_verdict(connection, run_id), None)

    return await service.write(change)


@router.post(
    "/runs/{run_id}/verdict/heard",
    tags=["write"],
    summary="Say that the job has been told to stop",
    responses={**NO_RUN, **CONFLICT},
)
async def heard(run_id: RunIdPath, service: Service, said: Heard | None = None) -> Done:
    said = said or Heard()
    await service.write(lambda connection: record_heard(connection, run_id, segment=said.segment, step=said.step))
    return Done()


def _verdict(state: StopState, stored: StoredVerdict | None, asked: str | None) -> VerdictView:
    stopping = {
        "run_id": state.run.id,
        "mode": state.policy.mode,
        "segment": state.run.segment,
        "should_stop": state.should_stop,
        "stop_sentence": state.sentence,
    }
    if stored is None:
        return VerdictView(
            **stopping,
            metric=asked,
            decision="undecided",
            sentence=_why_no_verdict(state, asked),
            policy=state.policy.policy,
            probability=None,
            reference="",
            expected_improvement=None,
            saved=None,
            saved_steps=None,
            regret=None,
            regret_interval=None,
            next_step=None,
            guards=[],
            comparisons=[],
            evidence={},
            step=None,
            since_step=None,
            confirmed=False,
            judged_at=None,
            goal=None,
            time=None,
        )
    return VerdictView(
        **stopping,
        **{"goal": None, "time": None, "confirmed": False, **_finite(stored.details)},
        metric=stored.metric,
        step=stored.step,
        since_step=stored.since_step,
        judged_at=stored.judged_at,
    )


def _finite(details: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that JSON lacks are stored as words; where a number is meant there is none then."""
    words = {"NaN", "Infinity", "-Infinity"}
    found = {name: None if isinstance(value, str) and value in words else value for name, value in details.items()}
    interval = found.get("regret_interval")
    if interval is not None and words & {value for value in interval if isinstance(value, str)}:
        found["regret_interval"] = None
    return found


def _why_no_verdict(state: StopState, asked: str | None) -> str:
    if state.run.status != "running":
        return "The run is over; there is nothing left to decide."
    if asked is not None:
        return f"{asked} is not judged: only a metric with a goal and the one that lists show are."
    return "Nothing has been judged yet: a verdict needs a loss, some dozen points of it, and a worker (losscast work)."
