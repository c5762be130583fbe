"""Runs all diagnoses over the points of one run."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import numpy.typing as npt

from app.curves.curve import checked_points
from app.diagnostics.changes import BATCH_SIZE, DATA, DISTURBING, Change, RateWatch, ValueWatch, restarts
from app.diagnostics.diagnosis import Diagnosis, Window
from app.diagnostics.event import Event, Findings, Risk
from app.diagnostics.level import Level
from app.diagnostics.overfit import Overfit
from app.diagnostics.registry import DIAGNOSES
from app.diagnostics.risk import HORIZONS, DivergenceRisk, Record
from app.diagnostics.series import Series
from app.diagnostics.signals import Inputs
from app.errors import BadInput

VERSION = 7
"""Of the bytes; raise it with every change that makes a diagnosis say something else from the same state."""

_MAGIC = b"LCDX"

CHECKPOINT_ROWS = 1024
CHECKPOINT_LEVELS = 4
"""A snapshot is kept of the newest row that is a multiple of 1024, of 4096, of 16,384 and of 65,536."""

WATCHED_VALUES = {"batch_size": BATCH_SIZE, "data_phase": DATA, "sequence_length": DATA}
"""Signals that are constant by nature, and what it is called when they change."""


EXPECTED = ("loss", "grad_norm", "update_norm")
"""Signals of which it is said how far they lie from what was expected of them."""


@dataclass(slots=True)
class Watches:
    """What several diagnoses want to know: what was changed from outside, and what was to be expected."""

    rate: RateWatch = field(default_factory=RateWatch)
    values: dict[str, ValueWatch] = field(
        default_factory=lambda: {signal: ValueWatch(kind) for signal, kind in WATCHED_VALUES.items()}
    )

    levels: dict[str, Level] = field(default_factory=lambda: {signal: Level() for signal in EXPECTED})

    def complete(self, window: Window, segment_starts: Sequence[int], after: int | None) -> Window:
        """The window with its changes, and with what was expected of its points."""
        changes = self._changes(window, segment_starts, after)
        window = replace(window, changes=changes)
        disturbed = window.change_steps(DISTURBING)
        surprises = {signal: level.observe(window.series(signal), disturbed) for signal, level in self.levels.items()}
        return replace(window, surprises=surprises)

    def _changes(self, window: Window, segment_starts: Sequence[int], after: int | None) -> tuple[Change, ...]:
        changes = list(restarts(segment_starts, after, window.last_step))
        changes.extend(self.rate.observe(window.series("lr")))
        for signal, watch in self.values.items():
            changes.extend(watch.observe(window.series(signal)))
        return tuple(sorted(changes, key=lambda change: change.step))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after a row: everything that was known there."""

    rows: int
    last_step: int
    state: bytes


class Engine:
    """What is known of one run after the points it was given.

    `observe` takes points in the order of their steps, `truncated` goes back for some that came late, `to_bytes` and
    `from_bytes` keep it between two looks.
    """

    def __init__(self, inputs: Inputs, overfit_rule: str = "") -> None:
        """`overfit_rule`: one of `app.diagnostics.overfit.NAMED_RULES`, or empty."""
        self.inputs = inputs
        self._overfit_rule = overfit_rule
        self.last_step: int | None = None
        self.rows = 0
        self._watches = Watches()
        self._diagnoses: list[Diagnosis] = [diagnosis() for diagnosis in DIAGNOSES]
        self._overfit.rule = overfit_rule
        self._checkpoints: list[Checkpoint] = []

    @property
    def states(self) -> dict[str, str]:
        """Diagnosis -> where the run stands."""
        return {diagnosis.name: diagnosis.state for diagnosis in self._diagnoses}

    @property
    def risk(self) -> dict[int, float]:
        """Horizon in steps -> probability of a fault within it, as it was last said; empty before the first word."""
        return dict(zip(HORIZONS, self._divergence_risk.said, strict=False))

    @property
    def warnings(self) -> Mapping[str, Record]:
        """Precursor of a divergence -> what followed it in this run so far."""
        return self._divergence_risk.records

    @property
    def _divergence_risk(self) -> DivergenceRisk:
        return next(one for one in self._diagnoses if isinstance(one, DivergenceRisk))

    @property
    def _overfit(self) -> Overfit:
        return next(one for one in self._diagnoses if isinstance(one, Overfit))

    def observe(
        self, logged: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], segment_starts: Sequence[int] = ()
    ) -> Findings:
        """Take in the points of further steps: all metrics', from the last step on to the newest.

        Parameters
        ----------
        logged : mapping
            Metric -> (steps, values), steps strictly increasing and beyond `last_step`.
        segment_starts : sequence of int
            First step of every segment of the run so far, in order; those after the first are restarts. [steps]

        Returns
        -------
        Findings
            Events raised, updated or resolved, and risks said, by these points.
        """
        series = {metric: _checked(metric, *points) for metric, points in logged.items()}
        series = {metric: one for metric, one in series.items() if len(one)}
        if not series:
            return Findings()
        if self.last_step is not None and min(int(one.steps[0]) for one in series.values()) <= self.last_step:
            raise BadInput(f"Points up to step {self.last_step} were seen already; truncate first.")
        events: list[Event] = []
        risks: list[Risk] = []
        steps = _union([one.steps for one in series.values()])
        begin = 0
        # A window ends wherever a checkpoint is due.
        for end in (*range(CHECKPOINT_ROWS - self.rows % CHECKPOINT_ROWS, len(steps), CHECKPOINT_ROWS), len(steps)):
            first, until = int(steps[begin]), int(steps[end - 1])
            window = {metric: one.between(first, until) for metric, one in series.items()}
            self._look(until, window, segment_starts, events, risks)
            self.rows += end - begin
            begin = end
            if self.rows % CHECKPOINT_ROWS == 0:
                self._keep_checkpoint(until)
        return Findings(tuple(events), tuple(risks))

    def truncated(self, step: int) -> tuple[Engine, int | None]:
        """Forget everything from `step` on, and as much before it as it takes to reach a checkpoint.

        Returns
        -------
        Engine
        int or None
            The first step to read again; None: everything. Events raised from there on are no longer true, those that
            were resolved from there on are open again. [steps]
        """
        if self.last_step is not None and step > self.last_step:
            return self, self.last_step + 1
        kept = [checkpoint for checkpoint in self._checkpoints if checkpoint.last_step < step]
        engine = Engine(self.inputs, self._overfit_rule)
        if not kept:
            return engine, None
        newest = kept[-1]
        engine._checkpoints = kept
        engine._restore(newest.rows, newest.last_step, newest.state)
        return engine, newest.last_step + 1

    def with_inputs(self, inputs: Inputs) -> Engine:
        """The same with metrics that were not logged before. Raises `BadInput` where it must be rebuilt."""
        if not inputs.is_compatible_with(self.inputs):
            raise BadInput("A metric has another meaning than it had; rebuild the diagnoses from the points.")
        self.inputs = inputs
        return self

    def to_bytes(self) -> bytes:
        """Versioned and compressed: some kilobytes."""
        saved = _Saved(
            inputs=self.inputs,
            last_step=self.last_step,
            rows=self.rows,
            state=self._state(),
            checkpoints=self._checkpoints,
        )
        return _MAGIC + bytes([VERSION]) + zlib.compress(msgspec.msgpack.encode(saved))

    @staticmethod
    def from_bytes(data: bytes) -> Engine:
        """The inverse of `to_bytes`. Raises `BadInput` on anything else: rebuild from the points then."""
        if data[:5] != _MAGIC + bytes([VERSION]):
            raise BadInput(f"No diagnoses of version {VERSION}; rebuild them from the points.")
        try:
            saved = msgspec.msgpack.decode(zlib.decompress(data[5:]), type=_Saved)
            engine = Engine(saved.inputs)
            engine._checkpoints = saved.checkpoints
            if saved.last_step is not None:
                engine._restore(saved.rows, saved.last_step, saved.state)
        except (msgspec.DecodeError, zlib.error) as error:
            raise BadInput("These bytes hold no diagnoses of this version; rebuild them from the points.") from error
        return engine

    def _look(
        self,
        until: int,
        logged: Mapping[str, Series],
        segment_starts: Sequence[int],
        events: list[Event],
        risks: list[Risk],
    ) -> None:
        """Show a window to the diagnoses, in their order; what they say is added to the lists."""
        said: list[Event] = []
        seen = Window(until, self.inputs, logged, said=said)
        window = self._watches.complete(seen, segment_starts, self.last_step)
        for diagnosis in self._diagnoses:
            words = list(diagnosis.observe(window))  # all of them first: it is not to read what it says itself
            said.extend(word for word in words if isinstance(word, Event))
            risks.extend(word for word in words if isinstance(word, Risk))
        events.extend(said)
        self.last_step = until

    def _keep_checkpoint(self, last_step: int) -> None:
        newest = Checkpoint(self.rows, last_step, self._state())
        kept = {}
        for checkpoint in (*self._checkpoints, newest):
            for level in range(CHECKPOINT_LEVELS):
                if checkpoint.rows % (CHECKPOINT_ROWS * 4**level) == 0:
                    kept[level] = checkpoint
        by_rows = {checkpoint.rows: checkpoint for checkpoint in kept.values()}
        self._checkpoints = [by_rows[rows] for rows in sorted(by_rows)]

    def _state(self) -> bytes:
        states = {diagnosis.name: diagnosis for diagnosis in self._diagnoses}
        return msgspec.msgpack.encode({"": self._watches, **states})

    def _restore(self, rows: int, last_step: int, state: bytes) -> None:
        states = msgspec.msgpack.decode(state, type=dict[str, msgspec.Raw])
        if set(states) != {"", *(diagnosis.name for diagnosis in DIAGNOSES)}:
            raise BadInput("These bytes were written with other diagnoses; rebuild them from the points.")
        self.rows, self.last_step = rows, last_step
        self._watches = msgspec.msgpack.decode(states[""], type=Watches)
        self._diagnoses = [msgspec.msgpack.decode(states[one.name], type=one) for one in DIAGNOSES]
        self._overfit_rule = self._overfit.rule


@dataclass(frozen=True, slots=True)
class _Saved:
    inputs: Inputs
    last_step: int | None
    rows: int
    state: bytes
    checkpoints: list[Checkpoint]


def _checked(metric: str, steps: npt.ArrayLike, values: npt.ArrayLike) -> Series:
    return Series(metric, *checked_points(steps, values))


def _union(steps: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """All steps that any of the metrics has, sorted."""
    longest = max(steps, key=len)
    others = [one for one in steps if one is not longest and not np.array_equal(one, longest)]
    return np.unique(np.concatenate([longest, *others])) if others else longest
