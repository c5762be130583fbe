"""A network that has learned its training data by heart, and whether it will come to understand them.

A run that groks first looks exactly like one that overfits: training is solved, validation is at its worst. What tells
them apart is what validation does next. It is judged at every evaluation, from train and validation curves alone:

**Memorised.** Training is solved (accuracy 99 %, or without accuracies a tenth of the first loss) while validation is
not. No reason to stop by itself.

**Turning.** The validation loss is down from its peak and the accuracy is above where it stood at memorisation, or
well above its first value. From here on there is a probability and an expected step. How long the rest takes is a
lognormal accelerated failure time: the logarithm of (step of generalisation / this step) from how far progress still
has to go and how fast it goes, both against the logarithm of the step.

**Generalising, grokked, un-grokking.** Half of the way; 95 %; and lost again while training stays solved.

Neither the norm of the weights nor a rank decides anything: the norm rises in some networks that grok and falls in
others. Where they are logged they are shown with the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from app.diagnostics.changes import DATA
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Number, Severity
from app.diagnostics.series import Series

SOLVED_ACCURACY = 0.99
SOLVED_LOSS = 0.1
"""Of the first training loss, where no accuracy is logged."""

UNSOLVED_LOSS = 0.8
"""Of the first validation loss: above it nothing was learned that holds for other data."""

UNSOLVED_EVALUATIONS = 3

FITTING_LOSS = 0.5
"""The peak of the validation loss is looked for once the training loss is below this share of its first value: before,
large initial weights make any loss fall."""

TURNED_LOSS = 0.95
TURNED_PROGRESS = 0.05
PARTIAL_PROGRESS = 0.15
"""Turning: the validation loss at most so much of its peak, and progress up by so much since memorisation, or at least
so much at all."""

TURNED_LOSS_ALONE = 0.8
TURNED_EVALUATIONS = 2
"""Without accuracies: at most so much of the peak at so many evaluations running."""

HALF_WAY = 0.5
GENERALISED = 0.95
GENERALISED_LOSS = 0.1
"""Of the first validation loss, where no accuracy is logged."""

LOST_ACCURACY = 0.9
LOST_LOSS = 0.5
LOST_EVALUATIONS = 3
"""Un-grokking: validation worse than this at so many evaluations running at which training was solved."""

RECENT_POINTS = 5
"""Newest training points since the last evaluation that are averaged: one mini-batch proves nothing."""

MEMORY = 0.3
"""Of the speed of progress, in logarithms of the step."""

NORMAL_90 = 1.2816

REMAINING = (-0.378, 0.931, -0.707)
"""Expected logarithm of the logarithm of (step of generalisation / this step): constant, coefficient of the logarithm
of the gap, coefficient of the logarithm of (1 + speed). Fitted by `python -m benchmarks.grokking`."""

REMAINING_SPREAD = 0.71
"""Its standard deviation: what 80 % of the forecasts need for runs of a family that they were not fitted to."""

# Progress reached -> how many runs that were called came to generalise at least half-way, and how many did not within
# their budget. Counted by the same benchmark.
RECORD: tuple[tuple[float, int, int], ...] = (
    (0.0, 44, 22),
    (0.2, 44, 8),
    (0.3, 44, 4),
    (0.4, 44, 0),
)
MEMORISED_RECORD = (44, 77)
"""The same of all runs that had memorised."""

READOUTS = (
    *("param_norm", "weight_distance", "alignment", "feature_rank", "spectral_entropy"),
    *("pathway_similarity", "complexity"),
)
"""Shown with the rest where they are logged: how far the weights have come, how rich the features are, how alike the
ways of samples through a mixture of experts."""


@dataclass(slots=True)
class Recent:
    """Training points since the last evaluation; until there are some, those from before it."""

    values: list[float] = field(default_factory=list)
    is_old: bool = False

    def add(self, values: list[float]) -> None:
        kept = [] if self.is_old else self.values
        self.values, self.is_old = [*kept, *values[-RECENT_POINTS:]][-RECENT_POINTS:], False

    def take_mean(self) -> float:
        self.is_old = True
        return sum(self.values) / len(self.values) if self.values else math.nan


@dataclass(slots=True)
class Readout:
    """A scalar that is only shown: as it was at memorisation, and now."""

    now: float = math.nan
    at_memorisation: float = math.nan


@dataclass(slots=True)
class Pace:
    """How far validation has come, and how fast, against the logarithm of the step.

    The speed is the distance of the newest point from an average of the past, both ways: progress over time.
    """

    best: float = 0.0
    log_step: float = math.nan
    mean: float = 0.0
    mean_log_step: float = 0.0

    @property
    def gap(self) -> float:
        """What is missing, in logits."""
        return max(_logit(GENERALISED) - _logit(self.best), 0.1)

    @property
    def speed(self) -> float:
        """Logits by which progress rises while the step is multiplied by e."""
        elapsed = self.log_step - self.mean_log_step
        return max((_logit(self.best) - self.mean) / elapsed, 0.0) if elapsed > 0 else 0.0

    def observe(self, step: int, progress: float) -> None:
        # A slingshot throws training and validation back for a moment: what was reached counts.
        self.best = max(self.best, progress)
        now, level = math.log(max(step, 1)), _logit(self.best)
        if math.isnan(self.log_step):
            self.mean, self.mean_log_step = level, now
        else:
            weight = 1 - math.exp(-(now - self.log_step) / MEMORY)
            self.mean += weight * (level - self.mean)
            self.mean_log_step += weight * (now - self.mean_log_step)
        self.log_step = now

    def remaining(self) -> tuple[float, float, float]:
        """Steps at which generalisation is expected: the 10 % quantile, the median, the 90 % quantile."""
        constant, of_gap, of_speed = REMAINING
        middle = constant + of_gap * math.log(self.gap) + of_speed * math.log(1 + self.speed)
        reach = NORMAL_90 * REMAINING_SPREAD
        early, median, late = (
            math.exp(min(self.log_step + math.exp(log), 41.0)) for log in (middle - reach, middle, middle + reach)
        )
        return early, median, late


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One look at the validation data.

    accuracy : NaN where none is logged
    progress : from 0, as at the first evaluation, to 1
    is_solved : whether training was
    """

    step: int
    loss: float
    accuracy: float
    progress: float
    is_solved: bool

    @property
    def is_loss_alone(self) -> bool:
        return math.isnan(self.accuracy)


@dataclass(slots=True)
class Grokking:
    name: ClassVar[str] = "grokking"
    kinds: ClassVar[tuple[str, ...]] = ("memorised", "grokking", "ungrokking")

    state: str = "too early"
    first_train_loss: float = math.nan
    first_loss: float = math.nan
    first_accuracy: float = math.nan
    are_percent: bool = False  # accuracies above 1 were logged: they are not read
    train_loss: Recent = field(default_factory=Recent)
    train_accuracy: Recent = field(default_factory=Recent)
    accuracy: float = math.nan  # newest on validation data
    peak: float = math.nan
    memorised_at: int | None = None
    progress_at_memorisation: float = 0.0
    unsolved: int = 0
    turned: int = 0
    back: int = 0
    lost: int = 0
    pace: Pace = field(default_factory=Pace)
    shown_tenth: int = -1
    readouts: dict[str, Readout] = field(default_factory=dict)
    memorised: Event | None = None
    call: Event | None = None
    ungrokking: Event | None = None

    def observe(self, window: Window) -> Iterator[Event]:
        pieces: list[tuple[int | None, int | None]] = [(None, None)]
        steps = window.change_steps({DATA})
        if steps:
            edges = [None, *steps, None]
            pieces = [(edges[i], None if (end := edges[i + 1]) is None else end - 1) for i in range(len(edges) - 1)]
        for at, (first, last) in enumerate(pieces):
            if at:
                yield from self._start_again(steps[at - 1])
            yield from self._observe(window, first, last)

    def _observe(self, window: Window, first: int | None, last: int | None) -> Iterator[Event]:
        signals = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", *READOUTS)
        series = {signal: window.series(signal).between(first, last).finite() for signal in signals}
        losses = series.pop("val_loss")
        seen = dict.fromkeys(series, 0)
        for at, step in enumerate(losses.steps.tolist()):
            self._take_in(series, seen, step)
            yield from self._judge(step, float(losses.values[at]), window)
        self._take_in(series, seen, None)

    def _take_in(self, series: dict[str, Series], seen: dict[str, int], step: int | None) -> None:
        """What else was logged up to a step; None: all that is left."""
        for signal, one in series.items():
            begin = seen[signal]
            end = len(one) if step is None else int(np.searchsorted(one.steps, step, side="right"))
            if end == begin:
                continue
            seen[signal] = end
            values = one.values[begin:end].tolist()
            if signal.endswith("accuracy"):
                self.are_percent = self.are_percent or max(values) > 1
            if signal == "train_loss":
                self.first_train_loss = values[0] if math.isnan(self.first_train_loss) else self.first_train_loss
                self.train_loss.add(values)
            elif signal == "train_accuracy":
                self.train_accuracy.add(values)
            elif signal == "val_accuracy":
                self.accuracy = values[-1]
            else:
                self.readouts.setdefault(signal, Readout()).now = values[-1]

    def _judge(self, step: int, loss: float, window: Window) -> Iterator[Event]:
        train_loss, train_accuracy = self.train_loss.take_mean(), self.train_accuracy.take_mean()
        accuracy = math.nan if self.are_percent else self.accuracy
        if math.isnan(self.first_loss):
            self.first_loss = loss
        if math.isnan(self.first_accuracy):
            self.first_accuracy = accuracy
        if math.isnan(train_loss) or self.first_train_loss <= 0 or self.first_loss <= 0:
            return
        self._note_peak(train_loss, loss)
        is_solved = self._is_solved(train_loss, train_accuracy, accuracy)
        now = Evaluation(step, loss, accuracy, self._progress(loss, accuracy), is_solved)
        if self.memorised_at is None:
            yield from self._wait(now, window)
        else:
            self.pace.observe(step, now.progress)
        if self.state == "memorised":
            yield from self._await_turn(now, window)
        elif self.state in ("turning", "generalising"):
            yield from self._await_end(now, window)
        elif self.state in ("grokked", "un-grokking"):
            yield from self._guard(now, window)

    def _note_peak(self, train_loss: float, loss: float) -> None:
        if not math.isnan(self.peak):
            self.peak = max(self.peak, loss)
        elif train_loss < FITTING_LOSS * self.first_train_loss:
            self.peak = loss

    def _is_solved(self, train_loss: float, train_accuracy: float, accuracy: float) -> bool:
        if not math.isnan(train_accuracy) and not math.isnan(accuracy):
            return train_accuracy >= SOLVED_ACCURACY
        return train_loss <= SOLVED_LOSS * self.first_train_loss

    def _progress(self, loss: float, accuracy: float) -> float:
        """From 0, as at the first evaluation, to 1: of the accuracy, else of the loss's way down from its peak."""
        if not math.isnan(accuracy) and self.first_accuracy < 1:
            return max(0.0, (accuracy - self.first_accuracy) / (1 - self.first_accuracy))
        return max(0.0, 1 - loss / self.peak) if self.peak > 0 else 0.0

    def _wait(self, now: Evaluation, window: Window) -> Iterator[Event]:
        self.state = "fitting"
        is_unsolved = now.loss >= UNSOLVED_LOSS * self.first_loss if now.is_loss_alone else now.progress < HALF_WAY
        self.unsolved = self.unsolved + 1 if now.is_solved and is_unsolved and not math.isnan(self.peak) else 0
        # One evaluation that went wrong makes a loss look unsolved; accuracies of both kinds it does not.
        if self.unsolved < (UNSOLVED_EVALUATIONS if now.is_loss_alone else 1):
            return
        self.memorised_at, self.progress_at_memorisation = now.step, now.progress
        for readout in self.readouts.values():
            readout.at_memorisation = readout.now
        self.state = "memorised"
        self.pace.observe(now.step, now.progress)
        self.memorised = self._memorised(now, window)
        yield self.memorised

    def _await_turn(self, now: Evaluation, window: Window) -> Iterator[Event]:
        if now.is_loss_alone:
            self.turned = self.turned + 1 if now.loss <= TURNED_LOSS_ALONE * self.peak else 0
            has_turned = self.turned >= TURNED_EVALUATIONS
        else:
            risen = self.progress_at_memorisation + TURNED_PROGRESS
            has_turned = now.loss <= TURNED_LOSS * self.peak and now.progress >= min(risen, PARTIAL_PROGRESS)
        if not has_turned:
            return
        self.state = "turning"
        self.shown_tenth = int(10 * self.pace.best)
        self.call = self._called(now, window)
        if self.memorised is not None:
            yield self.memorised.resolved(now.step, "turning")
            self.memorised = None
        yield self.call
        yield from self._await_end(now, window)

    def _await_end(self, now: Evaluation, window: Window) -> Iterator[Event]:
        assert self.call is not None  # it was made before this state was reached
        if self._has_generalised(now.loss, now.accuracy):
            yield self.call.resolved(now.step, "grokked", probability=None)
            self.call, self.state, self.lost = None, "grokked", 0
            return
        is_back = now.is_solved and now.loss >= self.peak and now.progress <= self.progress_at_memorisation
        self.back = self.back + 1 if is_back else 0
        if self.back >= TURNED_EVALUATIONS:
            yield self.call.resolved(now.step, "turned back")
            self.call, self.state, self.back, self.turned = None, "memorised", 0, 0
            self.pace.best = now.progress
            return
        self.state = "generalising" if self.pace.best >= HALF_WAY else "turning"
        tenth = int(10 * self.pace.best)
        if tenth > self.shown_tenth:
            self.shown_tenth = tenth
            self.call = replace(self._called(now, window), step=self.call.step, raised_at=self.call.raised_at)
            yield self.call

    def _has_generalised(self, loss: float, accuracy: float) -> bool:
        if not math.isnan(accuracy):
            return accuracy >= GENERALISED
        return loss <= GENERALISED_LOSS * self.first_loss

    def _guard(self, now: Evaluation, window: Window) -> Iterator[Event]:
        """After grokking: validation lost while training stays solved. A slingshot loses both."""
        if now.is_loss_alone:
            is_lost, is_well = now.loss > LOST_LOSS * self.first_loss, now.loss <= GENERALISED_LOSS * self.first_loss
        else:
            is_lost, is_well = now.accuracy < LOST_ACCURACY, now.accuracy >= GENERALISED
        if now.is_solved:
            self.lost = self.lost + 1 if is_lost else 0
        if self.ungrokking is None and self.lost >= LOST_EVALUATIONS:
            self.state = "un-grokking"
            self.ungrokking = self._ungrokked(now, window)
            yield self.ungrokking
        elif self.ungrokking is not None and is_well:
            yield self.ungrokking.resolved(now.step, "recovered")
            self.ungrokking, self.state = None, "grokked"

    def _start_again(self, step: int) -> Iterator[Event]:
        """Other data are another task."""
        for event in (self.memorised, self.call, self.ungrokking):
            if event is not None:
                yield event.resolved(step, "other data")
        fresh = Grokking()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))

    def _memorised(self, now: Evaluation, window: Window) -> Event:
        came, did_not = MEMORISED_RECORD
        return Event(
            kind="memorised",
            severity=Severity.INFO,
            step=now.step,
            raised_at=now.step,
            message=(
                f"Training is solved at step {now.step:,}, validation is not: {window.inputs.metric('val_loss')} is "
                f"{now.loss:.4g}, it began at {self.first_loss:.4g}. Overfitting looks like this, and so does the "
                "first part of grokking: this alone is no reason to stop. Whether validation turns will show."
            ),
            inputs=_inputs(window),
            evidence={"val_loss": now.loss, "first_val_loss": self.first_loss, **self._read_out()},
            probability=(came + 1) / (came + did_not + 2),
            sharpen=window.missing("val_accuracy", "train_accuracy", "param_norm"),
        )

    def _called(self, now: Evaluation, window: Window) -> Event:
        early, expected, late = self.pace.remaining()
        probability = _probability(self.pace.best)
        evidence: dict[str, Number] = {
            "memorised_at": self.memorised_at,
            "val_loss": now.loss,
            "peak_val_loss": self.peak,
            "progress": self.pace.best,
            "speed": self.pace.speed,
            "judged_at": now.step,
            "expected_step": round(expected),
            "expected_from": round(early),
            "expected_to": round(late),
            "calibrated": not now.is_loss_alone,
            **self._read_out(),
        }
        if not now.is_loss_alone:
            evidence["val_accuracy"] = now.accuracy
        return Event(
            kind="grokking",
            severity=Severity.INFO,
            step=now.step,
            raised_at=now.step,
            message=(
                f"Validation has turned after step {self.memorised_at:,}, where training was solved: "
                f"{window.inputs.metric('val_loss')} is down to {now.loss:.4g} from {self.peak:.4g}. If it "
                f"generalises, then most likely around step {expected:,.0f}, with 80 % between {early:,.0f} and "
                f"{late:,.0f}."
            ),
            inputs=_inputs(window),
            evidence=evidence,
            probability=probability,
            sharpen=window.missing("val_accuracy", "train_accuracy", "param_norm"),
        )

    def _ungrokked(self, now: Evaluation, window: Window) -> Event:
        evidence: dict[str, Number] = {"val_loss": now.loss, **self._read_out()}
        if not now.is_loss_alone:
            evidence["val_accuracy"] = now.accuracy
        return Event(
            kind="ungrokking",
            severity=Severity.WARNING,
            step=now.step,
            raised_at=now.step,
            message=(
                f"What had been understood is being lost: training is still solved, {window.inputs.metric('val_loss')} "
                f"is back at {now.loss:.4g}. The best checkpoint lies before this step."
            ),
            inputs=_inputs(window),
            evidence=evidence,
            sharpen=window.missing("val_accuracy", "train_accuracy", "param_norm"),
        )

    def _read_out(self) -> dict[str, Number]:
        """What else was logged, with how it changed since memorisation."""
        shown: dict[str, Number] = {}
        for signal, readout in self.readouts.items():
            shown[signal] = readout.now
            if math.isfinite(readout.at_memorisation) and readout.at_memorisation != 0:
                shown[f"{signal}_since_memorisation"] = readout.now / readout.at_memorisation
        return shown


def _probability(progress: float) -> float:
    _, came, did_not = max(row for row in RECORD if progress >= row[0])
    return (came + 1) / (came + did_not + 2)


def _inputs(window: Window) -> tuple[str, ...]:
    signals = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return tuple(metric for signal in signals if (metric := window.inputs.metric(signal)) is not None)


def _logit(share: float) -> float:
    inside = min(max(share, 0.005), 0.995)
    return math.log(inside / (1 - inside))
