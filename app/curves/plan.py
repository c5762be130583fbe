"""How long a run will be and what its learning rate will do: said, concluded or assumed, and why.

In order. The total: declared, the config, a total that the job logs, steps an epoch, the share done that the job logs,
the fit of the logged rate, else as long again as the run has been. The schedule: known future rates, the declared
family, the config's family, the fit of the logged rate, else the last rate is held. The past is always what was logged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from app.curves.config_keys import EPOCH_KEYS, Config, as_number, configured_schedule, configured_total
from app.curves.curve import Curve
from app.curves.families import FAMILIES, REACTIVE, build_schedule, family_name
from app.curves.inference.infer import infer_schedule
from app.curves.inference.inferred import HOLD, InferredSchedule
from app.curves.schedule import Schedule, next_step
from app.curves.warmup import unseen_warmup
from app.errors import BadInput

DECLARED, INFERRED, ASSUMED = "declared", "inferred", "assumed"
ENDED = "ended"
"""Of a total only: the run is over, and that is where."""

LENGTH_ROLES = ("epoch", "total_steps", "total_epochs", "progress", "percent_done")
"""Roles of the metrics that say how long a run will be."""

MAX_DECLARED_KNOTS = 4096
_LEAST_SHARES = 4  # logged shares of which the pace is taken
_UNEVEN = 0.02  # a share that strays further than this from an even pace does not tell the total
_LEAST_DONE = (
    0.005  # of the run, before a logged share done tells the total: it is rounded, to a hundredth of a percent
)
_AGREES = 0.03  # a logged rate within this fraction of the peak of the declared one agrees with it
_SAME_RATIO = 0.05  # a ratio of logged to declared rates that varies by less than this is one factor
_OVERRUN = 0.1  # how far beyond itself a run that has passed its total is looked at, as a fraction of its length
_LARGEST_STEP = 2**62


_NOTHING_LOGGED: Mapping[str, Curve] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Total steps and schedule of a run, with where each is from.

    Parameters
    ----------
    total_steps : int
        The horizon: the last step of training. [steps]
    total_source, schedule_source : str
        "declared" (a person, the job or its config said so), "inferred" (from the logged data), "assumed"; of a run
        that has finished its total is "ended".
    total_why, schedule_why : str
        One plain sentence for the user.
    schedule : Schedule
        Learning rate of the whole run, past and planned. Of unit peak where no rate is known.
    schedule_family : str
        A family of `app.curves.families`, or "hold".
    """

    total_steps: int
    total_source: str
    total_why: str
    schedule: Schedule
    schedule_source: str
    schedule_family: str
    schedule_why: str

    def __post_init__(self) -> None:
        sources = (DECLARED, INFERRED, ASSUMED)
        for source, known in ((self.total_source, (*sources, ENDED)), (self.schedule_source, sources)):
            if source not in known:
                raise BadInput(f"A plan's source is declared, inferred or assumed, not {source!r}.")


def resolve_plan(
    *,
    declared: Mapping[str, Any],
    config: Mapping[str, Any],
    rate: Curve | None,
    cutoff: int,
    epoch: Curve | None = None,
    planned: Schedule | None = None,
    lengths: Mapping[str, Curve] = _NOTHING_LOGGED,
) -> Plan:
    """The plan of a run from everything that is known of it.

    Parameters
    ----------
    declared : mapping
        `{"total_steps": int, "schedule": {"family": ...}}`, both optional, as `validate_declared_plan` returns it.
    config : mapping
        The run's config as its framework wrote it.
    rate, epoch : Curve or None
        The learning rate and the epoch logged so far.
    cutoff : int
        Last step seen of the run. [steps]
    planned : Schedule or None
        Future rates that are known, e.g. rows of a file that hold nothing else.
    lengths : mapping
        What was logged under each of `LENGTH_ROLES`; `epoch` may be given here as well.
    """
    flat = Config(config)
    logged = _usable(rate)
    said = lengths if epoch is None else {**lengths, "epoch": epoch}
    total = _said_total(declared, flat, planned) or _logged_total(said, flat)
    known = None if total is None else total.steps

    @cache
    def inferred() -> InferredSchedule | None:
        """What the log says; asked for only where nobody said better, since it costs tens of milliseconds."""
        return None if logged is None else infer_schedule(logged, total_steps=known)

    total = _beyond(total or _inferred_total(inferred(), cutoff), cutoff, logged)
    chosen = (
        _as_planned(planned, logged, total)
        or _as_declared(declared, flat, total, logged, inferred)
        or _as_configured(flat, total, logged, inferred)
        or _as_logged(inferred())
    )
    warmup = (
        0.0
        if logged is None or chosen.source == DECLARED
        else unseen_warmup(logged.steps, logged.values, logged.counts)
    )
    schedule = _whole(chosen.schedule, logged, total.steps, warmup)
    why = chosen.why
    if warmup > 0:
        why += (
            f" The log begins late, at its highest rate: a warm-up over the {warmup:,.0f} steps before it is assumed."
        )
    return Plan(total.steps, total.source, total.why, schedule, chosen.source, chosen.family, why)


def validate_declared_plan(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The normalised form of a plan that somebody declares, or `BadInput` that says what to send.

    Takes `{"total_steps": N, "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 500}}`; either part may be
    missing, a schedule may be a bare family name, and families go by any known alias.
    """
    if not isinstance(raw, Mapping):
        raise BadInput('A plan is an object, e.g. {"total_steps": 10000, "schedule": {"family": "cosine"}}.')
    unknown = sorted(set(raw) - {"total_steps", "schedule"})
    if unknown:
        raise BadInput(f"A plan holds total_steps and schedule, not {', '.join(map(str, unknown))}.")
    plan: dict[str, Any] = {}
    if raw.get("total_steps") is not None:
        plan["total_steps"] = _valid_total(raw["total_steps"])
    if raw.get("schedule") is not None:
        plan["schedule"] = _valid_schedule(raw["schedule"], plan.get("total_steps"))
    return plan


# The total.


@dataclass(frozen=True, slots=True)
class _Total:
    steps: int
    source: str
    why: str


def _said_total(declared: Mapping[str, Any], config: Config, planned: Schedule | None) -> _Total | None:
    """The total that somebody or something states."""
    total = as_number(declared.get("total_steps"))
    if total is not None and total >= 1:
        return _Total(int(total), DECLARED, f"The run declares {int(total):,} steps.")
    said = declared.get("schedule") or {}
    if said.get("family") == "explicit":
        last = int(said["steps"][-1])
        return _Total(last, DECLARED, f"The declared learning rates end at step {last:,}.")
    if planned is not None:
        last = int(planned.steps[-1])
        return _Total(last, DECLARED, f"The known learning rates end at step {last:,}.")
    configured = configured_total(config)
    if configured is not None:
        return _Total(configured[0], DECLARED, f"The config sets {configured[1]} to {configured[0]:,} steps.")
    return None


def _logged_total(lengths: Mapping[str, Curve], config: Config) -> _Total | None:
    """The total that metrics of the run tell."""
    logged = {role: curve for role, curve in lengths.items() if len(curve)}
    steps = _constant(logged.get("total_steps"))
    if steps is not None:
        return _Total(int(steps), INFERRED, f"The job logs that it will have {int(steps):,} steps.")
    epochs = config.number(*EPOCH_KEYS) or _constant(logged.get("total_epochs"))
    return (
        _total_from_epochs(epochs, logged.get("epoch"))
        or _total_from_share(logged.get("progress"), 1.0)
        or _total_from_share(logged.get("percent_done"), 100.0)
    )


def _constant(curve: Curve | None) -> float | None:
    """The last value of a metric that says one number again and again: whole, and at least 1."""
    if curve is None:
        return None
    value = float(curve.values[-1])
    is_one_number = curve.spreads[-1] <= 1e-9 * abs(value)
    return round(value) if is_one_number and 0.5 <= value < _LARGEST_STEP else None


def _total_from_share(done: Curve | None, whole: float) -> _Total | None:
    """Where a share that grows evenly will be whole. One that goes above 1 is a percentage, whatever its name."""
    if done is None:
        return None
    shares = done.values / (100.0 if done.values.max() > 1.0 + 1e-9 else whole)
    step, share = float(done.steps[-1]), float(shares[-1])
    if not (_LEAST_DONE <= share <= 1.0 + 1e-9) or step <= 0 or shares.min() < 0:
        return None
    total = step / share
    recent = slice(len(done) // 2, None)
    if len(done) >= 2 * _LEAST_SHARES:
        # A job that was resumed counts its steps from elsewhere than its share: the slope tells, not the ratio.
        pace, start = np.polyfit(done.steps[recent], shares[recent], 1)
        off = np.abs(shares[recent] - start - pace * done.steps[recent]).max()
        if pace <= 0 or off > _UNEVEN:
            return None
        total = float((1.0 - start) / pace)
    if not step <= total + 0.5 < _LARGEST_STEP:
        return None
    why = f"The job logs that {share:.3g} of the run is done at step {step:,.0f}: about {round(total):,} steps in all."
    return _Total(max(round(total), 1), INFERRED, why)


def _total_from_epochs(epochs: float | None, epoch: Curve | None) -> _Total | None:
    """Steps so far, times all epochs over the epochs so far. Whole numbers of epochs only count them: too coarse."""
    if epochs is None or epochs <= 0 or epoch is None or not len(epoch):
        return None
    done, step = float(epoch.values[-1]), float(epoch.steps[-1])
    is_fraction = bool((np.abs(epoch.values - np.round(epoch.values)) > 1e-9).any())
    if done <= 0 or step <= 0 or not is_fraction or step * epochs / done >= _LARGEST_STEP:
        return None
    total = max(round(step * epochs / done), 1)
    why = f"Step {step:,.0f} is epoch {done:.3g} of {epochs:g}, so the run will have about {total:,} steps."
    return _Total(total, INFERRED, why)


def _inferred_total(inferred: InferredSchedule | None, cutoff: int) -> _Total | None:
    if inferred is None or inferred.decay_end is None or inferred.decay_end <= cutoff:
        return None
    end = inferred.decay_end
    return _Total(end, INFERRED, f"The learning rate logged so far arrives at its floor at about step {end:,}.")


def _beyond(total: _Total | None, cutoff: int, rate: Curve | None) -> _Total:
    """A total that is not behind the run, and one where nothing is known."""
    start = 0 if rate is None or rate.steps[0] < 0.5 * cutoff else float(rate.steps[0])
    length = max(cutoff - start, 1.0)
    if total is None:
        ahead = cutoff + math.ceil(length)
        why = "How long the run will be is not known; the forecast looks as far ahead as the run has come."
        return _Total(max(ahead, 1), ASSUMED, why)
    if total.steps >= cutoff:
        return total
    ahead = cutoff + math.ceil(_OVERRUN * length)
    further = f"another {100 * _OVERRUN:.0f} % of its length"
    why = f"The run is past its {total.steps:,} steps; the forecast looks {further} ahead."
    return _Total(ahead, ASSUMED, why)


# The schedule.


_Ask = Callable[[], InferredSchedule | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    schedule: Schedule
    source: str
    family: str
    why: str


def _as_planned(planned: Schedule | None, rate: Curve | None, total: _Total) -> _Chosen | None:
    if planned is None:
        return None
    whole = _whole(planned, rate, total.steps)
    steps = np.unique(np.append(np.round(whole.steps), np.linspace(whole.steps[0], whole.steps[-1], 513).round()))
    seen = infer_schedule(Curve.from_points(steps.astype(np.int64), whole.rate_at(steps)), total_steps=total.steps)
    is_flat = whole.rates[whole.steps >= whole.warmup_end].min() >= 0.999 * whole.peak
    family = seen.family if seen.is_known else "constant" if is_flat else "explicit"
    return _Chosen(planned, DECLARED, family, "The learning rates to come are known step by step.")


def _as_declared(
    declared: Mapping[str, Any], config: Config, total: _Total, rate: Curve | None, inferred: _Ask
) -> _Chosen | None:
    said = dict(declared.get("schedule") or {})
    family = said.pop("family", None)
    if family is None:
        return None
    if said.get("peak") is None and family != "explicit":
        said["peak"] = config.number("learning_rate", "max_lr", "peak_lr", "lr")
    return _as_told(family, said, "The run declares", total, rate, inferred)


def _as_configured(config: Config, total: _Total, rate: Curve | None, inferred: _Ask) -> _Chosen | None:
    found = configured_schedule(config, total.steps)
    if found is None:
        return None
    return _as_told(found.family, found.parameters, f"The config ({found.keys}) sets", total, rate, inferred)


def _as_logged(inferred: InferredSchedule | None) -> _Chosen:
    if inferred is None:
        why = "No learning rate was logged or declared; the forecast takes it as constant."
        return _Chosen(Schedule.constant(1.0, last=1.0), ASSUMED, HOLD, why)
    return _Chosen(inferred.schedule, INFERRED if inferred.is_known else ASSUMED, inferred.family, inferred.why)


def _as_told(
    family: str,
    parameters: Mapping[str, Any],
    who: str,
    total: _Total,
    rate: Curve | None,
    inferred: _Ask,
) -> _Chosen | None:
    """A schedule that somebody stated, held against what was logged."""
    name = _in_words(family)
    if family == REACTIVE:
        why = f"{who} a schedule that follows the loss; nobody knows its next move, so the last rate is held."
        return _Chosen(_held(rate), ASSUMED, HOLD, why)
    complete = _complete(parameters, family, rate)
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
        return _Chosen(stated, source, family, why)
    factor = _ratio(stated, rate)
    if factor is None:
        return _contradicted(name, who, inferred(), rate)
    if abs(factor - 1.0) > _AGREES:
        why = f"{why} The logged rate is {factor:.3g} times that, throughout; so is taken what is to come."
    return _Chosen(stated.scaled(factor), source, family, why)


def _in_words(family: str) -> str:
    name = family.removeprefix("wsd_").replace("_", " ").replace("inverse sqrt", "inverse square root")
    article = "an" if name[0] in "aeiou" else "a"
    if family.startswith("wsd_"):
        return f"a WSD schedule with {article} {name} decay"
    return f"{article} {name} schedule"


def _contradicted(name: str, who: str, inferred: InferredSchedule | None, rate: Curve) -> _Chosen:
    said = f"{who} {name}, but the logged rate does not follow it."
    if inferred is not None and inferred.is_known:
        return _Chosen(inferred.schedule, INFERRED, inferred.family, f"{said} {inferred.why}")
    return _Chosen(_held(rate), ASSUMED, HOLD, f"{said} The last rate is held.")


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


def _complete(parameters: Mapping[str, Any], family: str, rate: Curve | None) -> dict[str, Any]:
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


def _whole(chosen: Schedule, rate: Curve | None, total_steps: int, warmup: float = 0.0) -> Schedule:
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
        before = chosen.between(0.0, first - 1.0) if first > 1.0 else None
        past = before.then(past) if before is not None else past
    return past.then(chosen.since(last).until(end)) if end > next_step(last) else past


def _held(rate: Curve | None) -> Schedule:
    """The last rate, for good."""
    return Schedule.constant(1.0, last=1.0) if rate is None else Schedule.constant(float(rate.values[-1]), last=1.0)


def _usable(rate: Curve | None) -> Curve | None:
    """The logged rate, if it is one: at least one value, none below zero, not all zero."""
    if rate is None or not len(rate) or rate.values.min() < 0 or rate.values.max() <= 0:
        return None
    return rate


# Validation of what is declared.


def _valid_total(value: Any) -> int:
    number = as_number(value)
    if number is None or number != math.floor(number) or not 1 <= number < _LARGEST_STEP:
        raise BadInput(f"total_steps is the number of the last step, a whole number above zero; got {value!r}.")
    return int(number)


def _valid_schedule(value: Any, total_steps: int | None) -> dict[str, Any]:
    raw = {"family": value} if isinstance(value, str) else value
    if not isinstance(raw, Mapping) or not isinstance(raw.get("family"), str):
        raise BadInput('A schedule is an object with a family, e.g. {"family": "cosine", "warmup_steps": 500}.')
    family = family_name(raw["family"])
    if family is None:
        raise BadInput(
            f"No schedule family {raw['family']!r}. Families: {', '.join(FAMILIES)}, {REACTIVE}. "
            'Or send the curve itself: {"family": "explicit", "steps": [...], "rates": [...]}.'
        )
    if family == REACTIVE:
        return {"family": REACTIVE}
    given = {name: entry for name, entry in raw.items() if name != "family" and entry is not None}
    if family == "explicit":
        return {"family": family, **_valid_knots(given)}
    parameters = {name: _valid_parameter(name, entry) for name, entry in given.items()}
    # Built once to see that it can be.
    build_schedule(family, total_steps or 10_000, _complete(parameters, family, None))
    return {"family": family, **parameters}


_COUNTS = frozenset(
    {"warmup_steps", "decay_steps", "decay_end", "every", "cycles", "cycle_steps", "timescale", "cooldown_steps"}
)


def _valid_parameter(name: str, value: Any) -> Any:
    if name == "milestones":
        if not isinstance(value, list | tuple) or len(value) > MAX_DECLARED_KNOTS:
            raise BadInput(f"milestones is a list of at most {MAX_DECLARED_KNOTS} steps; got {value!r}.")
        return sorted(_valid_count(name, entry) for entry in value)
    if name in _COUNTS:
        return _valid_count(name, value)
    number = as_number(value)
    if number is None or number < 0:
        raise BadInput(f"{name} is a number of at least zero; got {value!r}.")
    if name == "peak" and number == 0:
        raise BadInput("peak is the largest learning rate, above zero; got 0.")
    if name == "final_fraction" and number > 1:
        raise BadInput(f"final_fraction is the last rate over the peak, between 0 and 1; got {value!r}.")
    return number


def _valid_count(name: str, value: Any) -> int:
    number = as_number(value)
    if number is None or number != math.floor(number) or not 0 <= number < _LARGEST_STEP:
        raise BadInput(f"{name} is in steps, a whole number of at least zero; got {value!r}.")
    return int(number)


def _valid_knots(given: Mapping[str, Any]) -> dict[str, Any]:
    steps, rates = given.get("steps"), given.get("rates")
    unknown = sorted(set(given) - {"steps", "rates"})
    if unknown or not isinstance(steps, list | tuple) or not isinstance(rates, list | tuple):
        raise BadInput("An explicit schedule holds two lists, steps and rates, and nothing else.")
    if not 1 <= len(steps) <= MAX_DECLARED_KNOTS or len(steps) != len(rates):
        raise BadInput(
            f"An explicit schedule has as many rates as steps, at most {MAX_DECLARED_KNOTS}; "
            f"got {len(steps)} steps and {len(rates)} rates."
        )
    numbers = [as_number(entry) for entry in (*steps, *rates)]
    if any(number is None for number in numbers):
        raise BadInput("An explicit schedule's steps and rates are finite numbers.")
    knots = Schedule(np.array(numbers[: len(steps)], float), np.array(numbers[len(steps) :], float))
    return {"steps": knots.steps.tolist(), "rates": knots.rates.tolist()}
