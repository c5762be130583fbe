"""What a run says of itself when it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Dict


@dataclass(frozen=True)
class Registration:
    """A run and this start of it, all of it made on the client: no answer is needed to begin."""

    run_id: str
    session: str
    """This start of the process. The server gives the same session the same segment however often it is asked."""
    project: str = "default"
    name: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    resume_step: int | None = None

    def bodies(self) -> Iterator[Dict[str, Any]]:
        """Everything first, then ever less: a plan or a config that the server refuses must not cost the metrics."""
        least: Dict[str, Any] = {"id": self.run_id, "session": self.session, "project": self.project}
        if self.resume_step is not None:
            least["resume_step"] = self.resume_step
        described = {**least, **_said(name=self.name, config=self.config, tags=list(self.tags))}
        complete = {**described, **_said(plan=self.plan, roles=self.roles)}
        yield complete
        if described != complete:
            yield described
        if least != described:
            yield least


def _said(**parts: Any) -> Dict[str, Any]:
    return {name: part for name, part in parts.items() if part}
