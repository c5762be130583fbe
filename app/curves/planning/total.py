"""How many steps a run will have: what is said of it, what the job logs of it, else what is assumed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.curves.config_keys import EPOCH_KEYS, Config, as_number, configured_total
from app.curves.curve import Curve
from app.curves.inference.inferred import InferredSchedule
from app.curves.plan import ASSUMED, DECLARED, INFERRED, LARGEST_STEP
from app.curves.schedule import Schedule

LENGTH_ROLES = ("epoch", "total_steps", "total_epochs", "progress", "percent_done")
"""Roles of the metrics that say how long a run will be."""

_LEAST_SHARES = 4  # logged shares of which the pace is taken
_UNEVEN = 0.02  # a share that strays further than this from an even pace does not tell the total
_LEAST_DONE = 0.005  # of the run; before, a logged share says little: it may be rounded to a hundredth of a percent
_NEAR = 0.002  # of the steps so far: how near to where a run stands the end of its decay cannot be told from "now"
_OVERRUN = 0.1  # how far beyond itself a run that has passed its total is looked at, as a fraction of its length


@dataclass(frozen=True, slots=True)
class Total:
    """The last step of training, where it is from, and why in one plain sentence.

    outrun : a total that was told before this one, and that the run has passed   [steps]
    """

    steps: int
    source: str
    why: str
    outrun: int | None = None


def told_total(
    declared: Mapping[str, Any],
    config: Config,
    planned: Schedule | None,
    lengths: Mapping[str, Curve],
    cutoff: int,
) -> tuple[Total | None, int | None]:
    """The first total that is told and not behind the run, and the first one before it that is behind."""
    outrun = None
    for total in (*_said_totals(declared, config, planned), _logged_total(lengths, config)):
        if total is not None and total.steps >= cutoff:
            return total, outrun
        if total is not None and outrun is None:
            outrun = total.steps
    return None, outrun


def _said_totals(declared: Mapping[str, Any], config: Config, planned: Schedule | None) -> Iterator[Total]:
    """The totals that somebody or something states."""
    total = as_number(declared.get("total_steps"))
    if total is not None and total >= 1:
        yield Total(int(total), DECLARED, f"The run declares {int(total):,} steps.")
    said = declared.get("schedule") or {}
    if said.get("family") == "explicit":
        last = int(said["steps"][-1])
        yield Total(last, DECLARED, f"The declared learning rates end at step {last:,}.")
    if planned is not None:
        last = int(planned.steps[-1])
        yield Total(last, DECLARED, f"The known learning rates end at step {last:,}.")
    configured = configured_total(config)
    if configured is not None:
        yield Total(configured[0], DECLARED, f"The config sets {configured[1]} to {configured[0]:,} steps.")


def _logged_total(lengths: Mapping[str, Curve], config: Config) -> Total | None:
    """The total that metrics of the run tell."""
    logged = {role: curve for role, curve in lengths.items() if len(curve)}
    steps = _constant(logged.get("total_steps"))
    if steps is not None:
        return Total(int(steps), INFERRED, f"The job logs that it will have {int(steps):,} steps.")
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
    return round(value) if is_one_number and 0.5 <= value < LARGEST_STEP else None


def _total_from_share(done: Curve | None, whole: float) -> Total | None:
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
    if not step <= total + 0.5 < LARGEST_STEP:
        return None
    why = f"The job logs that {share:.3g} of the run is done at step {step:,.0f}: about {round(total):,} steps in all."
    return Total(max(round(total), 1), INFERRED, why)


def _total_from_epochs(epochs: float | None, epoch: Curve | None) -> Total | None:
    """Steps so far, times all epochs over the epochs so far. Whole numbers of epochs only count them: too coarse."""
    if epochs is None or epochs <= 0 or epoch is None or not len(epoch):
        return None
    done, step = float(epoch.values[-1]), float(epoch.steps[-1])
    is_fraction = bool((np.abs(epoch.values - np.round(epoch.values)) > 1e-9).any())
    if done <= 0 or step <= 0 or not is_fraction or step * epochs / done >= LARGEST_STEP:
        return None
    total = max(round(step * epochs / done), 1)
    why = f"Step {step:,.0f} is epoch {done:.3g} of {epochs:g}, so the run will have about {total:,} steps."
    return Total(total, INFERRED, why)


def inferred_total(inferred: InferredSchedule | None, cutoff: int, outrun: int | None) -> Total | None:
    """Where the logged rate arrives at its floor; of a run past its total, only if that is clearly still to come."""
    if inferred is None or inferred.decay_end is None:
        return None
    end = inferred.decay_end
    if end <= cutoff or (outrun is not None and end - cutoff <= _NEAR * cutoff):
        return None
    return Total(end, INFERRED, f"The learning rate logged so far arrives at its floor at about step {end:,}.")


def resolved_total(told: Total | None, outrun: int | None, cutoff: int, rate: Curve | None) -> Total:
    """What is told, with what it comes after; where nothing is, a guess that is not behind the run."""
    past = "" if outrun is None else f"The run is past its {outrun:,} steps"
    if told is not None:
        return replace(told, why=f"{past}. {told.why}", outrun=outrun) if past else told
    start = 0 if rate is None or rate.steps[0] < 0.5 * cutoff else float(rate.steps[0])
    length = max(cutoff - start, 1.0)
    if not past:
        why = "How long the run will be is not known; the forecast looks as far ahead as the run has come."
        return Total(max(cutoff + math.ceil(length), 1), ASSUMED, why)
    why = f"{past}; the forecast looks another {100 * _OVERRUN:.0f} % of its length ahead."
    return Total(cutoff + math.ceil(_OVERRUN * length), ASSUMED, why, outrun)
