"""The log of stops: who asked for one, who answered, and whether the job has heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, text

from app.errors import Conflict
from app.runs import Run, RunStatus
from app.storage.goals import ProjectPolicy, read_project_policy
from app.storage.json import as_json
from app.storage.runs import get_run, run_key
from app.storage.verdicts import read_verdict
from app.verdicts.stopping import Author, Standing, StopEvent, may_stop, stop_words


@dataclass(frozen=True, slots=True)
class StopEntry:
    """One entry of the log of stops."""

    id: int
    run_id: str
    run_name: str
    at: datetime
    segment: int
    step: int | None
    event: StopEvent
    author: Author
    why: str
    evidence: Mapping[str, Any]


def lock_stops(connection: Connection, key: int) -> None:
    """Nobody else adds to the run's log until this transaction ends."""
    connection.execute(text("SELECT FROM run WHERE key = :key FOR NO KEY UPDATE"), {"key": key})


def read_standing(connection: Connection, key: int) -> Standing | None:
    """Where the run stands: the newest entry of its log."""
    row = connection.execute(
        text("SELECT event, author, segment FROM stop_log WHERE run_key = :key ORDER BY id DESC LIMIT 1"), {"key": key}
    ).one_or_none()
    return None if row is None else Standing(StopEvent(row.event), Author(row.author), row.segment)


@dataclass(frozen=True, slots=True)
class StopState:
    """Where a run stands on its way to a stop.

    is_current : whether the verdict was made by the policy and the goals as they are now
    """

    run: Run
    policy: ProjectPolicy
    standing: Standing | None
    is_current: bool

    @property
    def should_stop(self) -> bool:
        """Whether the job that asks now is told to stop."""
        if self.run.status is not RunStatus.RUNNING or not may_stop(self.standing, self.run.segment, self.policy.mode):
            return False
        return self.is_current or (self.standing is not None and self.standing.author is not Author.POLICY)

    @property
    def sentence(self) -> str:
        """The same in words for people."""
        if self.run.status is not RunStatus.RUNNING:
            return f"The run is over: {self.run.status.value}."
        words = stop_words(self.standing, self.run.segment, self.policy.mode)
        is_outdated = may_stop(self.standing, self.run.segment, self.policy.mode) and not self.should_stop
        return "The project's goals have changed; the run is being judged again." if is_outdated else words


def read_stop_state(connection: Connection, run_id: str) -> StopState:
    """Raises `NotFound`."""
    run = get_run(connection, run_id)
    key = run_key(connection, run_id)
    policy = read_project_policy(connection, run.project)
    judged_by = connection.execute(
        text("SELECT policy_revision FROM run_verdict WHERE run_key = :key AND is_acted_on AND decision IS NOT NULL"),
        {"key": key},
    ).scalar_one_or_none()
    return StopState(run, policy, read_standing(connection, key), is_current=judged_by == policy.revision)


def log_stop(
    connection: Connection,
    key: int,
    *,
    event: StopEvent,
    author: Author,
    segment: int,
    step: int | None,
    why: str,
    evidence: Mapping[str, Any],
) -> None:
    connection.execute(
        text("""
            INSERT INTO stop_log (run_key, segment, step, event, author, why, evidence)
            VALUES (:key, :segment, :step, :event, :author, :why, CAST(:evidence AS jsonb))
        """),
        {
            "key": key,
            "segment": segment,
            "step": step,
            "event": event.value,
            "author": author.value,
            "why": why,
            "evidence": as_json(evidence),
        },
    )


def answer_as_person(connection: Connection, run_id: str, event: StopEvent, by: str = "") -> Standing | None:
    """A person's word on a run: stop it (`ORDERED`), where that was proposed; let it go on whatever verdicts say
    (`DECLINED`); or take back what a person said (`WITHDRAWN`), so that verdicts count again.

    The same answer twice is one. Raises `NotFound`, and `Conflict` where it answers nothing or the run is over.
    """
    key = run_key(connection, run_id)
    lock_stops(connection, key)
    run = get_run(connection, run_id)
    standing = read_standing(connection, key)
    said = standing if standing is not None and standing.author is Author.PERSON else None
    if said is not None and said.event is event:
        return said
    if run.status is not RunStatus.RUNNING:
        raise Conflict(f"The run is over ({run.status.value}); there is nothing left to stop.")
    is_proposed = standing is not None and (standing.event, standing.segment) == (StopEvent.PROPOSED, run.segment)
    if event is StopEvent.ORDERED and not is_proposed:
        raise Conflict(
            "No stop is proposed for this run now. One is where the project's mode is 'ask' and a stop verdict has "
            "held for a while; GET /api/v1/runs/{id}/verdict says where the run stands."
        )
    if event is StopEvent.WITHDRAWN and said is None:
        raise Conflict("Nobody has answered for this run; there is nothing to take back.")
    verdict = read_verdict(connection, run_id)
    log_stop(
        connection,
        key,
        event=event,
        author=Author.PERSON,
        segment=run.segment,
        step=run.last_step,
        why=f"{by or 'Somebody'} {_ANSWERS[event]}.",
        evidence={} if verdict is None else {"metric": verdict.metric, "verdict": verdict.details},
    )
    return Standing(event, Author.PERSON, run.segment)


_ANSWERS: Mapping[StopEvent, str] = MappingProxyType(
    {
        StopEvent.ORDERED: "said yes: stop",
        StopEvent.DECLINED: "said no: go on",
        StopEvent.WITHDRAWN: "took the answer back: verdicts count again",
    }
)


def record_heard(connection: Connection, run_id: str, *, segment: int | None, step: int | None) -> None:
    """The job asked and was told to stop. Twice is once. Raises `NotFound`, and `Conflict` where nobody told it."""
    key = run_key(connection, run_id)
    lock_stops(connection, key)
    run = get_run(connection, run_id)
    segment = run.segment if segment is None else segment
    told = connection.execute(
        text("""
            SELECT author, evidence FROM stop_log
            WHERE run_key = :key AND segment = :segment AND event = 'ordered' ORDER BY id DESC LIMIT 1
        """),
        {"key": key, "segment": segment},
    ).one_or_none()
    if told is None:
        raise Conflict("This run was not told to stop.")
    standing = read_standing(connection, key)
    if standing is not None and standing.event is StopEvent.HEARD and standing.segment == segment:
        return
    log_stop(
        connection,
        key,
        event=StopEvent.HEARD,
        author=Author.JOB,
        segment=segment,
        step=run.last_step if step is None else step,
        why="The job asked and was told to stop.",
        evidence=told.evidence,
    )


def list_stops(
    connection: Connection, *, run_id: str | None = None, project: str | None = None, limit: int = 100
) -> list[StopEntry]:
    """The log, newest first. Raises `NotFound` for a run or project that is not there."""
    if run_id is not None:
        run_key(connection, run_id)
    if project is not None:
        read_project_policy(connection, project)
    rows = connection.execute(
        text("""
            SELECT l.*, run.id AS run_id, run.name AS run_name FROM stop_log l
            JOIN run ON run.key = l.run_key JOIN project ON project.id = run.project_id
            WHERE (CAST(:run_id AS text) IS NULL OR run.id = :run_id)
              AND (CAST(:project AS text) IS NULL OR project.name = :project)
            ORDER BY l.id DESC LIMIT :limit
        """),
        {"run_id": run_id, "project": project, "limit": limit},
    )
    return [
        StopEntry(
            id=row.id,
            run_id=row.run_id,
            run_name=row.run_name,
            at=row.at,
            segment=row.segment,
            step=row.step,
            event=StopEvent(row.event),
            author=Author(row.author),
            why=row.why,
            evidence=row.evidence,
        )
        for row in rows
    ]
