"""The schedule that a plan goes by: known ahead, declared, configured, or read off the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.curves.config_keys import Config, configured_schedule
from app.curves.curve import Curve
from app.curves.families import REACTIVE, build_schedule
from app.curves.inference.infer import infer_schedule
from app.curves.inference.inferred import HOLD, InferredSchedule
from app.curves.plan import ASSUMED, DECLARED, INFERRED
from app.curves.planning.total import Total
from app.curves.schedule import Schedule, next_step
from app.errors import BadInput

_AGREES = 0.03  # a logged rate within this fraction of the peak of the declared one agrees with it
_SAME_RATIO = 0.05  # a ratio of logged to declared rates that varies by less than this is one factor

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
    declared: Mapping[str, Any], config: Config, total: Total, rate: Curve | None, inferred: _Ask
) -> Chosen | None:
    said = dict(declared.get("schedule") or {})
    family = said.pop("family", None)
    if family is None:
        return None
    if said.get("peak") is None and family != "explicit":
        said["peak"] = config.number("learning_rate", "max_lr", "peak_lr", "lr")
    return _as_told(family, said, "The run declares", total, rate, inferred)


def as_configured(config: Config, total: Total, rate: Curve | None, inferred: _Ask) -> Chosen | None:
    found = configured_schedule(config, total.steps)
    if found is None:
        return None
    return _as_told(found.family, found.parameters, f"The config ({found.keys}) sets", total, rate, inferred)


def as_logged(inferred: InferredSchedule | None) -> Chosen:
    if inferred is None:
        why = "No learning rate was logged or declared; the forecast takes it as constant."
        return Chosen(Schedule.constant(1.0, last=1.0), ASSUMED, HOLD, why)
    return Chosen(inferred.schedule, INFERRED if inferred.is_known else ASSUMED, inferred.family, inferred.why)


def _as_told(
    family: str,
    parameters: Mapping[str, Any],
    who: str,
    total: Total,
    rate: Curve | None,
    inferred: _Ask,
) -> Chosen | None:
    """A schedule that somebody stated, held against what was logged."""
    name = _in_words(family)
    if family == REACTIVE:
        why = f"{who} a schedule that follows the loss; nobody knows its next move, so the last rate is held."
        return Chosen(_held(rate), ASSUMED, HOLD, why)
    complete = completed(parameters, family, rate)
    try:
        stated = build_schedule(family, total.steps, complete)
    except BadInput:
        return None
    source, note = DECLARED, ""
    needs_total = family not in ("constant", "inverse_sqrt", "explicit", "step", "cyclic")
    if total.source == ASSUMED and needs_total and complete.get("decay_end") is None:
        source, note = ASSUMED, " How long it takes is not said, so its pace is assumed."
    why = f"{who} {name}.{note}" if family != "explicit" else f"{who} its learning rates.{note}"
    if rate is None:
        return Chosen(stated, source, family, why)
    factor = _ratio(stated, rate)
    if factor is None:
        return _contradicted(name, who, inferred(), rate)
    if abs(factor - 1.0) > _AGREES:
        why = f"{why} The logged rate is {factor:.3g} times that, throughout; so is taken what is to come."
    return Chosen(stated.scaled(factor), source, family, why)


def _in_words(family: str) -> str:
    name = family.removeprefix("wsd_").replace("_", " ").replace("inverse sqrt", "inverse square root")
    article = "an" if name[0] in "aeiou" else "a"
    if family.startswith("wsd_"):
        return f"a WSD schedule with {article} {name} decay"
    return f"{article} {name} schedule"


def _contradicted(name: str, who: str, inferred: InferredSchedule | None, rate: Curve) -> Chosen:
    said = f"{who} {name}, but the logged rate does not follow it."
    if inferred is not None and inferred.is_known:
        return Chosen(inferred.schedule, INFERRED, inferred.family, f"{said} {inferred.why}")
    return Chosen(_held(rate), ASSUMED, HOLD, f"{said} The last rate is held.")


def _ratio(stated: Schedule, rate: Curve) -> float | None:
    """The factor from the stated rates to the logged ones: 1 where they agree, None if it is no one factor."""
    if stated.peak <= 0:
        return None
    expected = stated.rate_at(rate.steps)
    off = np.abs(rate.values - expected) / stated.peak
    recent = slice(-max(3, len(rate) // 10), None)
    # Both the whole past and its latest part: a job that left its schedule a while ago has left it.
    if np.median(off) <= _AGREES and np.median(off[recent]) <= _AGREES:
        return 1.0
    telling = expected > 0.05 * stated.peak
    if telling.sum() < 3:
        return None
    ratios = rate.values[telling] / expected[telling]
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    newest = float(np.median(ratios[recent]))
    is_one_factor = middle > 0 and high - low <= _SAME_RATIO * middle and abs(newest - middle) <= _SAME_RATIO * middle
    return float(newest) if is_one_factor else None


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
