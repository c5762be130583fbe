"""The validation loss has turned up while the training loss goes on falling.

Raised when the validation loss was above its best, by more than its noise, at three evaluations running, and the
training loss is lower than it was at that best. What Prechelt's criteria [1]_ and a plain patience would have said is
in the evidence, by name; any of them can be made the rule instead.

A network that memorises before it generalises looks the same. So `app.diagnostics.grokking` is heard first: of a run
that it holds for memorised, and that had learned nothing before which held for other data, and of one whose validation
has turned, nothing is said here; what was said already is taken back.

.. [1] L. Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998: generalisation loss
   GL = 100 (E_va / E_best - 1), here against 2 and 5 percent; UP_s, s strips that each end higher than the one before;
   PQ, GL over P_k = 1000 (mean / least training loss over a strip of k - 1), here k = 5 evaluations, against 0.75.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from app.diagnostics.changes import DISTURBING
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Number, Severity
from app.diagnostics.grokking import UNSOLVED_LOSS, Grokking
from app.diagnostics.level import Surprise
from app.diagnostics.series import Series

SMALLEST_RISE = math.log(1.02)
NOISE_SCALES = 4.0
"""A rise counts from two percent, or four times the usual difference between one evaluation and the next."""

IN_A_ROW = 3
FEWEST_EVALUATIONS = 5
TRAINING_FALL = math.log(1.005)
"""The training loss must be lower by half a percent, or the run does not overfit, it diverges."""

DIFFERENCE_MEMORY = 0.1
GL_LIMITS = {"gl2": 2.0, "gl5": 5.0}
UP_STRIPS = 3
PQ_STRIP, PQ_LIMIT = 5, 0.75
PATIENCES = (3, 10)

NAMED_RULES = (*GL_LIMITS, "pq", f"up{UP_STRIPS}", *(f"patience{patience}" for patience in PATIENCES))
"""What can be the rule instead of the one here."""

MEMORISED, TURNING = "memorised", "turning"
"""What grokking says of a run that is on its way through it, or never will be."""


@dataclass(slots=True)
class ByHeart:
    """Where a run stands between learning by heart and understanding, followed through what grokking says."""

    stage: str = ""  # MEMORISED, TURNING, or neither
    first_loss: float = math.nan  # logarithm of the validation loss at the first evaluation

    def hear(self, event: Event) -> None:
        if event.kind == "memorised" and event.is_open:
            self.stage, self.first_loss = MEMORISED, math.log(float(event.evidence["first_val_loss"] or math.nan))
        elif event.kind == "grokking":
            self.stage = TURNING if event.is_open else (MEMORISED if event.outcome == "turned back" else "")
        elif event.kind == "memorised" and event.outcome != "turning":
            self.stage = ""

    def explains(self, best: float) -> bool:
        """Whether a validation loss above its best, a logarithm, is no loss: nothing had been learned that held."""
        never_held = best >= self.first_loss + math.log(UNSOLVED_LOSS)
        return self.stage == TURNING or (self.stage == MEMORISED and never_held)


@dataclass(slots=True)
class Overfit:
    name: ClassVar[str] = "overfit"
    kinds: ClassVar[tuple[str, ...]] = ("overfit",)

    rule: str = ""  # one of `NAMED_RULES`, or empty: the one described above
    evaluations: int = 0  # since the last change from outside
    last: float = math.nan  # logarithms of the validation loss
    best: float = math.inf
    best_step: int = 0
    difference: float = 0.0  # between neighbours, mean size
    above: int = 0  # evaluations running by which it was above its best by more than noise
    since_best: int = 0
    ups: int = 0  # evaluations running that were higher than the one before
    training: float = math.nan  # logarithm of the training loss: its level, or its newest point
    training_at_best: float = math.nan
    strip: list[float] = field(default_factory=list)  # `training` at the newest `PQ_STRIP` evaluations
    epochs: float = math.nan
    fired: dict[str, int] = field(default_factory=dict)  # named criterion -> the step at which it would have stopped
    by_heart: ByHeart = field(default_factory=ByHeart)
    event: Event | None = None

    @property
    def state(self) -> str:
        if self.event is not None:
            return "overfitting"
        if self.by_heart.explains(self.best):
            return f"{self.by_heart.stage}, see grokking"
        return "too early" if self.evaluations < FEWEST_EVALUATIONS else "no sign"

    def observe(self, window: Window) -> Iterator[Event]:
        validation, epochs = window.series("val_loss"), window.series("epoch")
        training = window.surprise("loss") if window.inputs.metric("train_loss") is not None else Surprise.empty()
        changes = window.change_steps(DISTURBING)
        heard = [event for event in window.said if event.kind in Grokking.kinds]
        for step, value in zip(validation.steps.tolist(), validation.values.tolist(), strict=True):
            while changes and changes[0] <= step:
                yield from self._changed(changes.pop(0))
            self._read(training, epochs, step)
            while heard and _said_at(heard[0]) <= step:
                self.by_heart.hear(heard.pop(0))
            if 0.0 < value < math.inf:
                yield from self._evaluated(step, math.log(value), window)
        for step in changes:
            yield from self._changed(step)
        for event in heard:  # other data came after the last evaluation
            self.by_heart.hear(event)
        self._read(training, epochs, window.last_step)

    def _read(self, training: Surprise, epochs: Series, until: int) -> None:
        """How far training had come by a step."""
        end = int(np.searchsorted(training.steps, until, side="right"))
        if end:
            has_level = math.isfinite(training.excess[end - 1])
            self.training = float((training.levels if has_level else training.logs)[end - 1])
        end = int(np.searchsorted(epochs.steps, until, side="right"))
        if end:
            self.epochs = float(epochs.values[end - 1])

    def _changed(self, step: int) -> Iterator[Event]:
        """What was best before a change is no measure of what comes after it."""
        self.evaluations, self.best, self.last = 0, math.inf, math.nan
        self.above = self.since_best = self.ups = 0
        self.fired.clear()
        self.strip.clear()
        if self.event is not None:
            yield self.event.resolved(step, "cut short")
            self.event = None

    def _evaluated(self, step: int, log: float, window: Window) -> Iterator[Event]:
        self.evaluations += 1
        if self.evaluations > 1:
            weight = max(DIFFERENCE_MEMORY, 1.0 / (self.evaluations - 1))
            self.difference += weight * (abs(log - self.last) - self.difference)
            self.ups = self.ups + 1 if log > self.last else 0
        self.last = log
        if log < self.best:
            self.best, self.best_step, self.training_at_best = log, step, self.training
            self.since_best = self.above = 0
        else:
            self.since_best += 1
            self.above = self.above + 1 if log - self.best > self._smallest_rise else 0
        self.strip = [*self.strip, self.training][-PQ_STRIP:]
        named = self._ask_the_named(step, log)
        is_overfitting = self.rule in named if self.rule else self._is_overfitting
        is_by_heart = self.by_heart.explains(self.best)
        if self.event is None and is_overfitting and not is_by_heart:
            self.event = self._raised(step, log, window)
            yield self.event
        elif self.event is not None and is_by_heart:
            yield self.event.resolved(step, self.by_heart.stage)
            self.event = None
        elif self.event is not None and log <= self.best:
            yield self.event.resolved(step, "recovered")
            self.event = None

    @property
    def _smallest_rise(self) -> float:
        return max(SMALLEST_RISE, NOISE_SCALES * self.difference)

    @property
    def _is_overfitting(self) -> bool:
        if self.evaluations < FEWEST_EVALUATIONS or self.above < IN_A_ROW:
            return False
        knows_training = math.isfinite(self.training) and math.isfinite(self.training_at_best)
        return not knows_training or self.training < self.training_at_best - TRAINING_FALL

    def _ask_the_named(self, step: int, log: float) -> set[str]:
        """Which criteria of the literature stop the run here; where each first did is noted."""
        loss_of_generality = 100.0 * math.expm1(log - self.best)
        verdicts = {name: loss_of_generality > limit for name, limit in GL_LIMITS.items()}
        verdicts["pq"] = loss_of_generality > PQ_LIMIT * self._training_progress()
        verdicts[f"up{UP_STRIPS}"] = self.ups >= UP_STRIPS
        verdicts |= {f"patience{patience}": self.since_best >= patience for patience in PATIENCES}
        stopping = {name for name, stops in verdicts.items() if stops}
        for name in sorted(stopping):
            self.fired.setdefault(name, step)
        return stopping

    def _training_progress(self) -> float:
        """Prechelt's P, in thousandths; infinite as long as a strip is not whole."""
        if len(self.strip) < PQ_STRIP or not all(map(math.isfinite, self.strip)):
            return math.inf
        losses = [math.exp(one - min(self.strip)) for one in self.strip]
        return 1000.0 * (sum(losses) / PQ_STRIP - 1.0)

    def _raised(self, step: int, log: float, window: Window) -> Event:
        metric = window.inputs.metric("val_loss") or ""
        training = window.inputs.metric("train_loss")
        best, value = math.exp(self.best), math.exp(log)
        evidence: dict[str, Number] = {"best": best, "best_step": self.best_step, "value": value}
        evidence |= {"train_at_best": _exp(self.training_at_best), "train_now": _exp(self.training)}
        evidence |= {"epochs": self.epochs if math.isfinite(self.epochs) else None}
        evidence |= {f"{name}_at": at for name, at in self.fired.items()}
        text = f"{metric} has risen from {best:.4g} at step {self.best_step:,} to {value:.4g} at step {step:,}"
        if self.rule:
            evidence["rule"] = self.rule
            text += f": enough for {self.rule}"
        elif training is not None:
            text += f", while {training} went on falling"
        if self.epochs > 1:
            text += f"; this is pass {math.ceil(self.epochs)} over the data"
        if self.by_heart.stage == MEMORISED:
            text += ". Training is solved, as in the first part of grokking, but what is lost had held for other data"
        return Event(
            kind="overfit",
            severity=Severity.WARNING,
            step=self.best_step,
            raised_at=step,
            message=f"{text}.",
            inputs=(metric,) if training is None else (metric, training),
            evidence=evidence,
            sharpen=window.missing("train_loss", "epoch", "val_accuracy"),
        )


def _said_at(event: Event) -> int:
    return event.raised_at if event.resolved_at is None else event.resolved_at


def _exp(log: float) -> float | None:
    return math.exp(log) if math.isfinite(log) else None
