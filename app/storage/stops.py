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
from app.verdicts.stopping import Author, Mode, Standing, StopEvent, may_stop, stop_words


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


OUTDATED = "The project's goals have changed; the run is being judged again."
WAVERED = "A stop was asked for, and the verdict has been another since: the job is told once a stop has held again."
NEVER_ASKED = "Its job has not asked so far whether to stop: only one that calls should_stop() hears of it."

ASKED_AGAIN_SECONDS = 60
"""So often it is noted that a job asks."""


@dataclass(frozen=True, slots=True)
class StopState:
    """Where a run stands on its way to a stop.

    is_current : whether the verdict was made by the policy and the goals as they are now
    is_confirmed : whether it is a stop, and has been for long enough
    has_asked : whether anybody has asked for it over HTTP since this start of the run
    is_asked_again : whether that has not been noted for a while
    """

    run: Run
    policy: ProjectPolicy
    standing: Standing | None
    is_current: bool
    is_confirmed: bool
    has_asked: bool
    is_asked_again: bool

    @property
    def should_stop(self) -> bool:
        """Whether the job that asks now is told to stop.

        An order of the policy is in force only while the verdict is a stop and has held: one that asks in a moment of
        doubt is not stopped for good.
        """
        if self.run.status is not RunStatus.RUNNING or not may_stop(self.standing, self.run.segment, self.policy.mode):
            return False
        is_verdicts = self.standing is not None and self.standing.author is Author.POLICY
        return not is_verdicts or (self.is_current and self.is_confirmed)

    @property
    def sentence(self) -> str:
        """The same in words for people."""
        if self.run.status is not RunStatus.RUNNING:
            return f"The run is over: {self.run.status.value}."
        if may_stop(self.standing, self.run.segment, self.policy.mode) and not self.should_stop:
            return WAVERED if self.is_current else OUTDATED
        words = stop_words(self.standing, self.run.segment, self.policy.mode)
        event = None if self.standing is None else self.standing.event
        is_heard_anyway = self.policy.mode is Mode.ADVISE or event in (StopEvent.HEARD, StopEvent.DECLINED)
        return words if self.has_asked or is_heard_anyway else f"{words} {NEVER_ASKED}"


def read_stop_state(connection: Connection, run_id: str) -> StopState:
    """Raises `NotFound`."""
    run = get_run(connection, run_id)
    key = run_key(connection, run_id)
    policy = read_project_policy(connection, run.project)
    judged = connection.execute(
        text("""
            SELECT policy_revision, coalesce(CAST(details->>'confirmed' AS boolean), false) AS is_confirmed
            FROM run_verdict WHERE run_key = :key AND is_acted_on AND decision IS NOT NULL
        """),
        {"key": key},
    ).one_or_none()
    asked = connection.execute(
        text("""
            SELECT asked_at IS NOT NULL AS has_asked,
                coalesce(asked_at < now() - make_interval(secs => :again), true) AS is_asked_again
            FROM segment WHERE run_key = :key AND number = :segment
        """),
        {"key": key, "segment": run.segment, "again": ASKED_AGAIN_SECONDS},
    ).one_or_none()
    return StopState(
        run,
        policy,
        read_standing(connection, key),
        is_current=judged is not None and judged.policy_revision == policy.revision,
        is_confirmed=judged is not None and judged.is_confirmed,
        has_asked=asked is not None and asked.has_asked,
        is_asked_again=asked is not None and asked.is_asked_again,
    )


def note_asked(connection: Connection, run_id: str) -> None:
    """Somebody asks over HTTP whether the run is to stop."""
    connection.execute(
        text("""
            UPDATE segment SET asked_at = now() FROM run JOIN run_progress p ON p.run_key = run.key
            WHERE run.id = :run_id AND segment.run_key = run.key AND segment.number = p.segment
        """),
        {"run_id": run_id},
    )


def count_taken_back(connection: Connection, key: int, segment: int) -> int:
    """How many stops of a start of the run a later verdict took back; not those that ended with the project's mode."""
    return int(
        connection.execute(
            text("""
                SELECT count(*) FROM stop_log WHERE run_key = :key AND segment = :segment AND event = 'withdrawn'
                  AND author = 'policy' AND evidence->'settings'->>'mode' <> 'advise'
            """),
            {"key": key, "segment": segment},
        ).scalar_one()
    )


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


def count_stops(connection: Connection, *, run_id: str | None = None, project: str | None = None) -> int:
    """How many entries the log of a run, of a project or of all has."""
    return int(
        connection.execute(
            text("""
                SELECT count(*) FROM stop_log l
                JOIN run ON run.key = l.run_key JOIN project ON project.id = run.project_id
                WHERE (CAST(:run_id AS text) IS NULL OR run.id = :run_id)
                  AND (CAST(:project AS text) IS NULL OR project.name = :project)
            """),
            {"run_id": run_id, "project": project},
        ).scalar_one()
    )


def read_followed_order(connection: Connection, run: Run) -> StopEntry | None:
    """The order that the job heard before it ended as stopped; None where it ended of its own accord."""
    if run.status is not RunStatus.STOPPED:
        return None
    entries = [entry for entry in list_stops(connection, run_id=run.id, limit=20) if entry.segment == run.segment]
    if not entries or entries[0].event is not StopEvent.HEARD:
        return None
    return next((entry for entry in entries if entry.event is StopEvent.ORDERED), None)


def read_waiting(connection: Connection, project: str) -> dict[str, str]:
    """Id -> name of the running runs of a project whose stop is proposed and not answered, the newest first."""
    rows = connection.execute(
        text("""
            SELECT run.id, run.name FROM run JOIN project ON project.id = run.project_id
            JOIN run_progress p ON p.run_key = run.key
            JOIN LATERAL (
                SELECT id, event, segment FROM stop_log WHERE run_key = run.key ORDER BY id DESC LIMIT 1
            ) newest ON newest.event = 'proposed' AND newest.segment = p.segment
            WHERE project.name = :project AND run.status = 'running' ORDER BY newest.id DESC
        """),
        {"project": project},
    )
    return {row.id: row.name for row in rows}


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
