"""The shape of one diagnosis, and what it is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from app.diagnostics.changes import Change
from app.diagnostics.event import Event, Risk
from app.diagnostics.level import Surprise
from app.diagnostics.series import Series
from app.diagnostics.signals import Inputs


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The steps that one look adds: all that was logged in them, nothing from before and nothing from after.

    last_step : the last step of the window [steps]
    inputs : which metric stands for which signal
    logged : metric -> its points in the window
    changes : what was changed from outside in the window, in the order of steps
    surprises : signal -> its points beside what was expected of them, for `app.diagnostics.engine.EXPECTED`
    said : events raised, updated or resolved in this window by the diagnoses that came before, in their order
    """

    last_step: int
    inputs: Inputs
    logged: Mapping[str, Series]
    changes: tuple[Change, ...] = ()
    surprises: Mapping[str, Surprise] = field(default_factory=dict)
    said: Sequence[Event] = ()

    def series(self, signal: str) -> Series:
        """The points of the metric that stands for `signal`; empty where there is none."""
        metric = self.inputs.metric(signal)
        return Series.empty() if metric is None else self.logged.get(metric, Series.empty(metric))

    def surprise(self, signal: str) -> Surprise:
        return self.surprises.get(signal, Surprise.empty())

    def missing(self, *signals: str) -> tuple[str, ...]:
        """Those of the signals that the run does not log."""
        return tuple(signal for signal in signals if self.inputs.metric(signal) is None)

    def change_steps(self, kinds: Collection[str] | None = None) -> list[int]:
        return [change.step for change in self.changes if kinds is None or change.kind in kinds]


class Diagnosis(Protocol):
    """One thing that can be wrong, or be happening, with a run.

    An instance is the state of this diagnosis for one run. `observe` is called with consecutive windows and must say
    the same whatever the cuts between them: an event depends on points up to its own `raised_at` or `resolved_at` only.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]

    @property
    def state(self) -> str:
        """Where the run stands in this respect, in a word or two: "calm", "descending", "too early"."""
        ...

    def observe(self, window: Window) -> Iterator[Event | Risk]:
        """Take in a window; yield every event that it raises, updates or resolves, in the order of steps."""
        ...
