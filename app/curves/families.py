"""The families of learning-rate schedules, each a function of a few parameters that gives a `Schedule`.

All run from step 0 to `total_steps`: a linear warm-up from zero to `peak` over `warmup_steps`, then what their name
says. Smooth stretches are sampled so that straight lines between the knots stay within `SAMPLING_ERROR` of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.errors import BadInput

Floats = npt.NDArray[np.float64]
Shape = Callable[[Floats], Floats]

SAMPLING_ERROR = 5e-5
"""Largest distance between a schedule and the formula it was sampled from. [fraction of the peak]"""
MAX_CYCLES = 400
"""A cyclic schedule with more cycles than this is refused: it would need thousands of knots."""

_PIECES = 512  # of a smooth stretch; the error falls with the square of it
_DEFAULT_TIMESCALE = 10_000  # Hugging Face's for an inverse square root without a warm-up  [steps]
_DEFAULT_DECAY_FRACTION = 0.2  # of the run, for a WSD cool-down of unsaid length


# Shapes: from 1 at progress 0 to 0 at progress 1, except the exponential, which needs a floor above zero.


def cosine_shape(progress: Floats) -> Floats:
    r""":math:`(1 + \cos \pi p) / 2`."""
    return 0.5 * (1.0 + np.cos(np.pi * progress))


def linear_shape(progress: Floats) -> Floats:
    return 1.0 - progress


def sqrt_shape(progress: Floats) -> Floats:
    r""":math:`1 - \sqrt p`: falls at once, then slower (Hägele et al., arXiv:2405.18392)."""
    return 1.0 - np.sqrt(progress)


def rex_shape(progress: Floats) -> Floats:
    r""":math:`(1 - p) / (1 - p/2)`: stays high for long (Chen et al., arXiv:2107.04197)."""
    return (1.0 - progress) / (1.0 - 0.5 * progress)


def power_shape(power: float) -> Shape:
    return lambda progress: (1.0 - progress) ** power


def half_life_shape(progress: Floats) -> Floats:
    """Megatron-LM's exponential cool-down to zero: :math:`2 \\cdot 2^{-p} - 1`."""
    return 2.0 * 0.5**progress - 1.0


# Families.


def constant(total_steps: int, *, peak: float, warmup_steps: int = 0) -> Schedule:
    """Warm-up, then one rate."""
    return _joined(_warmup(peak, warmup_steps), _flat(warmup_steps, total_steps, peak))


def cosine(
    total_steps: int, *, peak: float, warmup_steps: int = 0, final_rate: float = 0.0, decay_end: int | None = None
) -> Schedule:
    """Half a cosine from the peak to `final_rate`, reached at `decay_end` (the total, unless said)."""
    return _decay(cosine_shape, total_steps, peak, warmup_steps, final_rate, decay_end)


def linear(
    total_steps: int, *, peak: float, warmup_steps: int = 0, final_rate: float = 0.0, decay_end: int | None = None
) -> Schedule:
    """A straight line from the peak to `final_rate`."""
    return _decay(linear_shape, total_steps, peak, warmup_steps, final_rate, decay_end)


def polynomial(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    final_rate: float = 0.0,
    decay_end: int | None = None,
    power: float = 1.0,
) -> Schedule:
    """From the peak to `final_rate` as `(1 - progress)**power`."""
    if not power > 0:
        raise BadInput(f"A polynomial schedule needs `power` above zero, not {power:g}.")
    return _decay(power_shape(power), total_steps, peak, warmup_steps, final_rate, decay_end)


def rex(
    total_steps: int, *, peak: float, warmup_steps: int = 0, final_rate: float = 0.0, decay_end: int | None = None
) -> Schedule:
    """From the peak to `final_rate`, most of it late: `(1 - p) / (1 - p / 2)`."""
    return _decay(rex_shape, total_steps, peak, warmup_steps, final_rate, decay_end)


def exponential(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    final_rate: float | None = None,
    factor: float | None = None,
    every: int = 1,
) -> Schedule:
    """A constant fraction is lost a step: to `final_rate` at the end, or times `factor` per `every` steps."""
    span = max(total_steps - warmup_steps, 1)
    if factor is not None:
        _require(0 < factor <= 1, f"An exponential schedule needs 0 < `factor` <= 1, not {factor:g}.")
        log_ratio = math.log(factor) * span / max(every, 1)
    else:
        floor = 0.1 * peak if final_rate is None else final_rate
        _require(floor > 0, "An exponential schedule never reaches zero: give `final_rate` above zero, or `factor`.")
        log_ratio = math.log(floor / peak) if peak > 0 else 0.0
    # Even in the root of the rate: that spreads the sampling error evenly, measured against the peak.
    decline = min(max(-log_ratio, 1e-9), 60.0)
    progress = -2.0 * np.log1p(np.linspace(0.0, 1.0, _PIECES + 1) * np.expm1(-0.5 * decline)) / decline
    progress = np.unique(np.append(np.clip(progress * decline / max(-log_ratio, decline), 0.0, 1.0), 1.0))
    return _joined(_warmup(peak, warmup_steps), (warmup_steps + span * progress, peak * np.exp(log_ratio * progress)))


def inverse_sqrt(total_steps: int, *, peak: float, warmup_steps: int = 0, timescale: int | None = None) -> Schedule:
    """As one over the root of the step: `peak * sqrt(timescale / (step - warmup_steps + timescale))`.

    `timescale` is the warm-up, unless said, and 10,000 without one, as in Hugging Face's Transformers; with the warm-up
    it is the schedule of the original Transformer (Vaswani et al., arXiv:1706.03762).
    """
    scale = float(timescale or warmup_steps or _DEFAULT_TIMESCALE)
    last = max(total_steps - warmup_steps, 1) + scale
    moved = np.geomspace(scale, last, _PIECES + 1)
    moved[0], moved[-1] = scale, last
    return _joined(_warmup(peak, warmup_steps), (warmup_steps - scale + moved, peak * np.sqrt(scale / moved)))


def wsd_linear(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    decay_steps: int | None = None,
    final_rate: float = 0.0,
    decay_end: int | None = None,
) -> Schedule:
    """Warm-up, stable, then a straight line down over the last `decay_steps` (trapezoid)."""
    return _cooldown(linear_shape, total_steps, peak, warmup_steps, decay_steps, final_rate, decay_end)


def wsd_cosine(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    decay_steps: int | None = None,
    final_rate: float = 0.0,
    decay_end: int | None = None,
) -> Schedule:
    """Warm-up, stable, then half a cosine down over the last `decay_steps`."""
    return _cooldown(cosine_shape, total_steps, peak, warmup_steps, decay_steps, final_rate, decay_end)


def wsd_sqrt(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    decay_steps: int | None = None,
    final_rate: float = 0.0,
    decay_end: int | None = None,
) -> Schedule:
    """Warm-up, stable, then `1 - sqrt(progress)` over the last `decay_steps`."""
    return _cooldown(sqrt_shape, total_steps, peak, warmup_steps, decay_steps, final_rate, decay_end)


def wsd_exponential(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    decay_steps: int | None = None,
    final_rate: float = 0.0,
    decay_end: int | None = None,
) -> Schedule:
    """Warm-up, stable, then a constant fraction lost a step down to `final_rate` (to zero: Megatron-LM's form)."""
    if final_rate <= 0 or peak <= 0:
        return _cooldown(half_life_shape, total_steps, peak, warmup_steps, decay_steps, final_rate, decay_end)
    ratio = final_rate / peak
    if ratio == 1:
        return constant(total_steps, peak=peak, warmup_steps=warmup_steps)

    def shape(progress: Floats) -> Floats:
        return (ratio**progress - ratio) / (1.0 - ratio)

    return _cooldown(shape, total_steps, peak, warmup_steps, decay_steps, final_rate, decay_end)


def step(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    milestones: Sequence[int] | None = None,
    every: int | None = None,
    factor: float = 0.1,
) -> Schedule:
    """The rate is multiplied by `factor` at each of `milestones`, or every `every` steps."""
    _require(0 <= factor, f"A step schedule needs `factor` of at least zero, not {factor:g}.")
    if milestones is None:
        _require(every is not None and every > 0, "A step schedule needs `milestones`, a list of steps, or `every`.")
        assert every is not None
        _require(total_steps / every <= MAX_CYCLES, f"A step schedule has at most {MAX_CYCLES} drops.")
        milestones = range(every, total_steps + 1, every)
    drops = sorted({int(m) for m in milestones if m > warmup_steps})
    edges = [(float(m) + back, peak * factor ** (i + 1 + back)) for i, m in enumerate(drops) for back in (-1, 0)]
    last = max(float(total_steps), edges[-1][0] if edges else 0.0, float(warmup_steps) + 1.0)
    knots = [(float(warmup_steps), peak), *edges, (last, peak * factor ** len(drops))]
    steps, rates = map(np.array, zip(*knots, strict=True))
    return _joined(_warmup(peak, warmup_steps), (steps, rates)).until(float(max(total_steps, warmup_steps + 1)))


def cosine_restarts(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    cycles: int | None = None,
    cycle_steps: int | None = None,
    cycle_factor: float = 1.0,
    final_rate: float = 0.0,
) -> Schedule:
    """Cosines one after the other, back to the peak at each start; each cycle `cycle_factor` times as long as the last.

    The length of the first is `cycle_steps`, or what makes `cycles` equal ones (1 unless said).
    """
    length = float(cycle_steps) if cycle_steps else max(total_steps - warmup_steps, 2) / max(cycles or 1, 1)
    _require(length >= 2 and cycle_factor >= 1, "Restarts need cycles of at least 2 steps and `cycle_factor` >= 1.")
    begins = _cycle_begins(warmup_steps, total_steps, length, cycle_factor)
    n_pieces = max(8, min(_PIECES, 2_000 // len(begins)))
    parts = []
    for i, begin in enumerate(begins):
        span = length * cycle_factor**i
        is_last = i + 1 == len(begins)
        progress = np.linspace(
            0.0, 1.0 if is_last else 1.0 - 1.0 / span, n_pieces + 1
        )  # restart: a jump, one step wide
        parts.append((begin + span * progress, final_rate + (peak - final_rate) * cosine_shape(progress)))
    return _joined(_warmup(peak, warmup_steps), *parts).until(float(max(total_steps, warmup_steps + 1)))


def cyclic(
    total_steps: int, *, peak: float, cycle_steps: int, final_rate: float = 0.0, warmup_steps: int = 0
) -> Schedule:
    """Triangles: up from `final_rate` to the peak in half of `cycle_steps`, and down again."""
    _require(cycle_steps >= 2, "A cyclic schedule needs `cycle_steps` of at least 2.")
    n_halves = math.ceil(2 * max(total_steps - warmup_steps, 1) / cycle_steps)
    _require(n_halves <= 2 * MAX_CYCLES, f"A cyclic schedule has at most {MAX_CYCLES} cycles.")
    halves = np.arange(n_halves + 1)
    rates: Floats = np.where(halves % 2 == 1, float(peak), float(final_rate))
    turns = warmup_steps + halves.astype(np.float64) * (cycle_steps / 2.0)
    return _joined(_warmup(final_rate, warmup_steps), (turns, rates)).until(float(max(total_steps, warmup_steps + 1)))


def infinite(
    total_steps: int,
    *,
    peak: float,
    warmup_steps: int = 0,
    cooldown_steps: int,
    constant_rate: float,
    decay_steps: int = 0,
    final_rate: float = 0.0,
) -> Schedule:
    """Warm-up, cosine cool-down to `constant_rate`, constant for as long as one likes, anneal over `decay_steps`.

    Ibrahim et al., arXiv:2403.08763. The anneal is exponential, or linear where it goes to zero.
    """
    cool_end = warmup_steps + max(cooldown_steps, 1)
    anneal_from = max(total_steps - decay_steps, cool_end)
    parts = [
        _warmup(peak, warmup_steps),
        _stretch(cosine_shape, warmup_steps, cool_end, peak, constant_rate),
        _flat(cool_end, anneal_from, constant_rate),
    ]
    if decay_steps:
        annealed = wsd_exponential if final_rate > 0 else wsd_linear
        whole = annealed(
            total_steps - cool_end, peak=constant_rate, decay_steps=total_steps - anneal_from, final_rate=final_rate
        )
        parts.append((whole.steps + cool_end, whole.rates))
    return _joined(*parts)


def explicit(total_steps: int, *, steps: Sequence[float], rates: Sequence[float]) -> Schedule:
    """Knots as given, linear between them, simplified where there are many."""
    return Schedule.through(np.asarray(steps, dtype=np.float64), np.asarray(rates, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Family:
    """A schedule family: its builder and the parameters that it takes beside `total_steps` and `peak`."""

    name: str
    build: Callable[..., Schedule]
    parameters: tuple[str, ...]
    aliases: tuple[str, ...] = ()


_DECAYING = ("warmup_steps", "final_rate", "decay_end")
_COOLING = ("warmup_steps", "decay_steps", "final_rate", "decay_end")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("constant", constant, ("warmup_steps",), ("constant_with_warmup", "const", "fixed", "none")),
        Family(
            "cosine",
            cosine,
            _DECAYING,
            ("cos", "cosine_with_warmup", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "cosine_annealing"),
        ),
        Family("linear", linear, _DECAYING, ("linear_with_warmup", "linear_decay", "lin")),
        Family("polynomial", polynomial, (*_DECAYING, "power"), ("poly", "polynomial_with_warmup")),
        Family("rex", rex, _DECAYING),
        Family("exponential", exponential, ("warmup_steps", "final_rate", "factor", "every"), ("exp",)),
        Family(
            "inverse_sqrt",
            inverse_sqrt,
            ("warmup_steps", "timescale"),
            ("inverse_square_root", "inv_sqrt", "noam", "rsqrt"),
        ),
        Family(
            "wsd_linear",
            wsd_linear,
            _COOLING,
            ("wsd", "trapezoidal", "trapezoid", "linear_cooldown", "warmup_stable_decay_linear", "warmup_stable_decay"),
        ),
        Family("wsd_cosine", wsd_cosine, _COOLING, ("warmup_stable_decay_cosine",)),
        Family(
            "wsd_sqrt", wsd_sqrt, _COOLING, ("wsd_minus_sqrt", "1_sqrt", "wsd_1_sqrt", "warmup_stable_decay_1_sqrt")
        ),
        Family("wsd_exponential", wsd_exponential, _COOLING, ("wsd_exp", "warmup_stable_decay_exponential")),
        Family(
            "step",
            step,
            ("warmup_steps", "milestones", "every", "factor"),
            ("multi_step", "multistep", "step_decay", "steplr", "multisteplr", "piecewise_constant"),
        ),
        Family(
            "cosine_restarts",
            cosine_restarts,
            ("warmup_steps", "cycles", "cycle_steps", "cycle_factor", "final_rate"),
            ("cosine_with_restarts", "cosine_warm_restarts", "sgdr", "warm_restarts"),
        ),
        Family("cyclic", cyclic, ("warmup_steps", "cycle_steps", "final_rate"), ("triangular", "cycliclr")),
        Family(
            "infinite",
            infinite,
            ("warmup_steps", "cooldown_steps", "constant_rate", "decay_steps", "final_rate"),
            ("infinite_lr", "inf"),
        ),
        Family("explicit", explicit, ("steps", "rates"), ("knots", "curve", "custom")),
    )
}

REACTIVE = "reactive"
"""The family of schedules that follow the loss (ReduceLROnPlateau, greedy): nobody can say what they will do."""
_REACTIVE_ALIASES = ("reactive", "reduce_lr_on_plateau", "plateau", "greedy", "reducelronplateau")

_BY_ALIAS = {alias: name for name, family in FAMILIES.items() for alias in (name, *family.aliases)} | dict.fromkeys(
    _REACTIVE_ALIASES, REACTIVE
)


def family_name(said: str) -> str | None:
    """Our name of a family that somebody else named; None if nobody we know calls one so."""
    key = said.strip().lower().replace("-", "_").replace(" ", "_").removeprefix("schedulertype.")
    return _BY_ALIAS.get(key)


def build_schedule(family: str, total_steps: int, parameters: Mapping[str, Any]) -> Schedule:
    """The schedule of a family known by our name. `BadInput` for parameters that it lacks or does not take."""
    found = FAMILIES.get(family)
    if found is None:
        raise BadInput(f"No schedule family {family!r}. Families: {', '.join(FAMILIES)}, {REACTIVE}.")
    allowed = set(found.parameters) | ({"peak"} if family != "explicit" else set())
    unknown = sorted(set(parameters) - allowed)
    if unknown:
        raise BadInput(f"A {family} schedule takes no {', '.join(unknown)}. It takes: {', '.join(sorted(allowed))}.")
    try:
        return found.build(total_steps, **parameters)
    except TypeError as error:
        raise BadInput(
            f"A {family} schedule lacks a parameter: {error}. It takes: {', '.join(sorted(allowed))}."
        ) from error


def _decay(
    shape: Shape, total_steps: int, peak: float, warmup_steps: int, final_rate: float, decay_end: int | None
) -> Schedule:
    end = max(total_steps if decay_end is None else decay_end, warmup_steps + 1)
    whole = _joined(
        _warmup(peak, warmup_steps),
        _stretch(shape, warmup_steps, end, peak, final_rate),
        _flat(end, total_steps, final_rate),
    )
    # A decay that ends after the run is cut where the run ends.
    return whole.until(float(total_steps)) if end > total_steps > 0 else whole


def _cooldown(
    shape: Shape,
    total_steps: int,
    peak: float,
    warmup_steps: int,
    decay_steps: int | None,
    final_rate: float,
    decay_end: int | None,
) -> Schedule:
    end = max(total_steps if decay_end is None else decay_end, warmup_steps + 1)
    length = round(_DEFAULT_DECAY_FRACTION * end) if decay_steps is None else decay_steps
    begin = min(max(end - length, warmup_steps), end - 1)
    whole = _joined(
        _warmup(peak, warmup_steps),
        _flat(warmup_steps, begin, peak),
        _stretch(shape, begin, end, peak, final_rate),
        _flat(end, total_steps, final_rate),
    )
    return whole.until(float(total_steps)) if end > total_steps > 0 else whole


def _warmup(peak: float, warmup_steps: int) -> tuple[Floats, Floats]:
    return _flat(0, 0, peak) if warmup_steps <= 0 else (np.array([0.0, warmup_steps]), np.array([0.0, peak]))


def _flat(first: float, last: float, rate: float) -> tuple[Floats, Floats]:
    steps = np.array([first, last] if last > first else [first], dtype=np.float64)
    return steps, np.full(len(steps), rate)


def _stretch(shape: Shape, first: float, last: float, high: float, low: float) -> tuple[Floats, Floats]:
    # Knots crowd at both ends: the root of progress is steep at 0, low powers of what is left are steep at 1.
    u = np.linspace(0.0, 1.0, _PIECES + 1)
    progress = u**4 / (u**4 + (1.0 - u) ** 4)
    return first + (last - first) * progress, low + (high - low) * np.clip(shape(progress), 0.0, 1.0)


def _cycle_begins(first: int, total_steps: int, length: float, factor: float) -> list[float]:
    begins = [float(first)]
    while begins[-1] + length * factor ** (len(begins) - 1) < total_steps:
        _require(len(begins) < MAX_CYCLES, f"A schedule has at most {MAX_CYCLES} restarts.")
        begins.append(begins[-1] + length * factor ** (len(begins) - 1))
    return begins


def _joined(*parts: tuple[Floats, Floats]) -> Schedule:
    """Parts one behind the other; where two share a step, the later one has it."""
    steps = np.concatenate([part[0] for part in parts])
    rates = np.concatenate([part[1] for part in parts])
    order = np.argsort(steps, kind="stable")
    steps, rates = steps[order], rates[order]
    last_of_equals = np.append(np.diff(steps) > 0, True)
    return Schedule(steps[last_of_equals], rates[last_of_equals])


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadInput(otherwise)
