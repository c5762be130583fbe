"""The schedule that a plan goes by: known ahead, declared, configured, or read off the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.curves.config_keys import Config, configured_schedule
from app.curves.curve import Curve
from app.curves.families import REACTIVE, build_schedule
from app.curves.inference.infer import infer_schedule
from app.curves.inference.inferred import HOLD, InferredSchedule
from app.curves.plan import ASSUMED, DECLARED, INFERRED
from app.curves.planning.agreement import AGREES_IN_PART, LoggedRate, Stretch, agrees, factor_between
from app.curves.planning.total import Total
from app.curves.schedule import Schedule, next_step
from app.errors import BadInput

_WITHOUT_TOTAL = ("constant", "inverse_sqrt", "explicit", "step", "cyclic")  # families that need none

_Ask = Callable[[], InferredSchedule | None]
"""What the log says of the schedule; a question, since the answer costs tens of milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A schedule for what is to come, where it is from, its family, and why in one plain sentence."""

    schedule: Schedule
    source: str
    family: str
    why: str


def as_planned(planned: Schedule | None, rate: Curve | None, total: Total) -> Chosen | None:
    if planned is None:
        return None
    whole = whole_schedule(planned, rate, total.steps)
    steps = np.unique(np.append(np.round(whole.steps), np.linspace(whole.steps[0], whole.steps[-1], 513).round()))
    seen = infer_schedule(Curve.from_points(steps.astype(np.int64), whole.rate_at(steps)), total_steps=total.steps)
    is_flat = whole.rates[whole.steps >= whole.warmup_end].min() >= 0.999 * whole.peak
    family = seen.family if seen.is_known else "constant" if is_flat else "explicit"
    return Chosen(planned, DECLARED, family, "The learning rates to come are known step by step.")


def as_declared(
    declared: Mapping[str, Any], config: Config, total: Total, log: LoggedRate | None, inferred: _Ask
) -> Chosen | None:
    said = dict(declared.get("schedule") or {})
    family = said.pop("family", None)
    if family is None:
        return None
    if said.get("peak") is None and family != "explicit":
        said["peak"] = config.number("learning_rate", "max_lr", "peak_lr", "lr")
    return _as_told(_Statement("The run declares", family, said), total, log, inferred)


def as_configured(config: Config, total: Total, log: LoggedRate | None, inferred: _Ask) -> Chosen | None:
    found = configured_schedule(config, total.steps)
    if found is None:
        return None
    statement = _Statement(f"The config ({found.keys}) sets", found.family, found.parameters)
    return _as_told(statement, total, log, inferred)


def as_logged(inferred: InferredSchedule | None) -> Chosen:
    if inferred is None:
        why = "No learning rate was logged or declared; the forecast takes it as constant."
        return Chosen(Schedule.constant(1.0, last=1.0), ASSUMED, HOLD, why)
    return Chosen(inferred.schedule, INFERRED if inferred.is_known else ASSUMED, inferred.family, inferred.why)


@dataclass(frozen=True, slots=True, eq=False)
class _Statement:
    """A schedule that somebody stated: who, which family, with which parameters."""

    who: str
    family: str
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        name = self.family.removeprefix("wsd_").replace("_", " ").replace("inverse sqrt", "inverse square root")
        article = "an" if name[0] in "aeiou" else "a"
        if self.family.startswith("wsd_"):
            return f"a WSD schedule with {article} {name} decay"
        return f"{article} {name} schedule"

    @property
    def in_words(self) -> str:
        return f"{self.who} its learning rates." if self.family == "explicit" else f"{self.who} {self.name}."

    @property
    def needs_total(self) -> bool:
        return self.family not in _WITHOUT_TOTAL and self.parameters.get("decay_end") is None

    @property
    def is_of_known_height(self) -> bool:
        return self.family == "explicit" or self.parameters.get("peak") is not None

    def built(self, total_steps: int, rate: Curve | None, *, counted_from: int = 0) -> Schedule | None:
        """None where it cannot be."""
        try:
            parameters = completed(self.parameters, self.family, rate)
            schedule = build_schedule(self.family, total_steps - counted_from, parameters)
            return Schedule(schedule.steps + counted_from, schedule.rates) if counted_from else schedule
        except BadInput:
            return None


def _as_told(statement: _Statement, total: Total, log: LoggedRate | None, inferred: _Ask) -> Chosen | None:
    """A schedule that somebody stated, held against what was logged."""
    family, says = statement.family, statement.in_words
    if family == REACTIVE:
        why = f"{statement.who} a schedule that follows the loss; nobody knows its next move, so the last rate is held."
        return Chosen(_held(log.curve if log else None), ASSUMED, HOLD, why)
    stated = statement.built(total.steps, log.curve if log else None)
    if stated is None:
        return None
    source = DECLARED
    if total.source == ASSUMED and statement.needs_total:
        source = ASSUMED
        unknown = "How long it takes is not said" if total.outrun is None else "The run is past its end"
        says = f"{says} {unknown}, so its pace is assumed."
    if log is None:
        return Chosen(stated, source, family, says)
    if family == "explicit" and stated.steps[0] > log.curve.steps[-1]:
        return _still_to_begin(statement, stated, log.curve)
    if (over := _over(statement, total, log)) is not None:
        return over
    factor = factor_between(stated, log.curve)
    if factor == 1.0:
        return Chosen(stated, source, family, says)
    newer = _of_a_stretch(statement, total.steps, _stretches(statement, log))
    if newer is None and factor is not None and log.goes_on_as(stated.scaled(factor)):
        says = f"{says} The logged rate is {factor:.3g} times that, throughout; so is taken what is to come."
        return Chosen(stated.scaled(factor), source, family, says)
    if newer is None:
        seen = inferred()
        newer = _of_a_stretch(statement, total.steps, log.since_decay(seen.decay_end if seen else None))
        if newer is None:
            return _contradicted(statement, seen, log.curve)
    return Chosen(newer.schedule, source, family, f"{says} {newer.why}")


def _still_to_begin(statement: _Statement, stated: Schedule, rate: Curve) -> Chosen:
    """Explicit rates that all lie ahead: nothing logged can contradict them."""
    begins, last = float(stated.steps[0]), float(rate.steps[-1])
    why = f"{statement.in_words} They begin at step {begins:,.0f}; the last rate is taken to stay until then."
    if begins > next_step(last):
        stated = Schedule.constant(float(rate.values[-1]), first=last, last=begins - 1.0).then(stated)
    return Chosen(stated, DECLARED, statement.family, why)


def _over(statement: _Statement, total: Total, log: LoggedRate) -> Chosen | None:
    """A schedule that the run followed to its end, and has gone on after."""
    if total.outrun is None or not (statement.needs_total or statement.family == "explicit"):
        return None
    stated = statement.built(total.outrun, log.curve)
    if stated is None or stated.steps[-1] > total.outrun:
        return None
    if not (agrees(stated, log.curve) and log.goes_on_as(stated)):
        return None
    why = f"{statement.in_words} It ended at step {total.outrun:,}; its last rate is taken to stay."
    return Chosen(stated, ASSUMED, statement.family, why)


@dataclass(frozen=True, slots=True, eq=False)
class _Newer:
    """What was stated, as the newest part of the log follows it, and which part that is, in words."""

    schedule: Schedule
    why: str


def _of_a_stretch(statement: _Statement, total_steps: int, stretches: Iterable[Stretch]) -> _Newer | None:
    """A statement about the log's newest part: made, or even counted, from the job's restart on.

    A factor between what is stated and what is logged is allowed only where no peak is stated: a part is too short to
    tell a factor from another schedule.
    """
    for stretch in stretches:
        counts = [0] if stretch.restart is None or statement.family == "explicit" else [0, stretch.restart]
        for counted_from in counts:
            stated = statement.built(total_steps, stretch.rate, counted_from=counted_from)
            factor = None if stated is None else factor_between(stated, stretch.rate, AGREES_IN_PART)
            if stated is None or factor is None or (factor != 1.0 and statement.is_of_known_height):
                continue
            counted = ", counted from there" if counted_from else ""
            return _Newer(stated.scaled(factor), f"The logged rate follows it {stretch.since}{counted}.")
    return None


def _stretches(statement: _Statement, log: LoggedRate) -> Iterator[Stretch]:
    if statement.family == "explicit":
        begins = float(statement.parameters["steps"][0])  # what the rate was before is not stated
        if len(spoken_of := log.since(begins)):
            yield Stretch(spoken_of, f"since step {begins:,.0f}, where the stated rates begin")
    yield from log.stretches()


def _contradicted(statement: _Statement, inferred: InferredSchedule | None, rate: Curve) -> Chosen:
    said = f"{statement.who} {statement.name}, but the logged rate does not follow it."
    if inferred is not None and inferred.is_known:
        return Chosen(inferred.schedule, INFERRED, inferred.family, f"{said} {inferred.why}")
    return Chosen(_held(rate), ASSUMED, HOLD, f"{said} The last rate is held.")


def completed(parameters: Mapping[str, Any], family: str, rate: Curve | None) -> dict[str, Any]:
    """Parameters with the peak filled in from the log, and the floor as a rate."""
    complete = {name: value for name, value in parameters.items() if value is not None}
    if family == "explicit":
        return complete
    if complete.get("peak") is None:
        # Without any rate the shape alone counts: the laws measure rates against the peak.
        complete["peak"] = float(rate.values.max()) if rate is not None else 1.0
    fraction = complete.pop("final_fraction", None)
    if fraction is not None and complete.get("final_rate") is None:
        complete["final_rate"] = fraction * complete["peak"]
    return complete


def whole_schedule(chosen: Schedule, rate: Curve | None, total_steps: int, warmup: float = 0.0) -> Schedule:
    """From step 0, or the first step logged, to the total: the past as logged, the rest as chosen.

    Before the log begins: as chosen, or a linear warm-up over `warmup` steps where that is above zero.
    """
    end = float(total_steps)
    if rate is None:
        first = min(0.0, float(chosen.steps[0]), end - 1.0)
        return chosen.between(first, end)
    first, last = float(rate.steps[0]), float(rate.steps[-1])
    past = Schedule.through(rate.steps, rate.values)
    if 0 < warmup < first:
        past = Schedule(np.append([0.0, warmup], past.steps), np.append([0.0, past.rates[0]], past.rates))
    elif first > 0:
        before = _led_up_to(float(past.rates[0]), chosen.between(0.0, first - 1.0)) if first > 1.0 else None
        past = before.then(past) if before is not None else past
    return past.then(chosen.since(last).until(end)) if end > next_step(last) else past


def _led_up_to(logged: float, before: Schedule) -> Schedule:
    """A warm-up as it was stated, brought down to where the log takes over.

    One of another shape than stated (half a cosine, a rate that is logged as the mean of some steps) is lower there. A
    fall of the rate at the join would end the warm-up, and be an annealing that never was.
    """
    stated = float(before.rates[-1])
    rises = bool((np.diff(before.rates) >= 0).all()) and stated > before.rates[0]
    return before.scaled(logged / stated) if rises and logged < stated else before


def _held(rate: Curve | None) -> Schedule:
    """The last rate, for good."""
    return Schedule.constant(1.0, last=1.0) if rate is None else Schedule.constant(float(rate.values[-1]), last=1.0)
