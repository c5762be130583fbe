"""The multi-power law's published figures, made again by its authors' own procedure, and how far they hang on it.

Run ``python -m benchmarks.multi_power_protocol DIRECTORY`` with the folder that holds 25M_cosine_24000.csv and its like
(thu-yao-01-luo/MultiPowerLaw, MIT). Three runs are fitted, six predicted. What is taken from the authors' public code
(`src/fitting.py`, `models.py`, `evaluation.py`, `data_loader.py`, `config.py`):

- the rates, from each run's name; every row of the files counts, in the fit and in the errors;
- the sum of the falls begins at step 0, where the rate is zero;
- start: L0 + A S^-alpha - B (3e-4 - rate) by L-BFGS-B from 135 starts, the best; then C = 1, beta = gamma = 0.5;
- AdamW (weight decay 0.01) at 5e-2 for L0, A, B, C and 5e-3 for the exponents, at most 200 steps, on the sum of Huber
  losses (delta 1e-3) of the log residual; stopped after 20 steps without a lower sum; the lowest counts;
- errors: mean and largest relative error of each run, both averaged over the six.

Printed beside it: the same from 200 starts a tenth of a percent off, and the optimum of the very sum that is descended.
The falls are summed in pieces (`app.laws.multi_power`), which moves the mean error by less than 2e-6.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, minimize
from scipy.special import huber
from scipy.stats import linregress

from app.curves.schedule import Schedule
from app.importers.recorded_run_file import read_recorded_run
from app.laws.multi_power import MultiPowerLaw
from app.laws.separable import Basis, Units
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

SIZES = ("25M", "100M")
FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")
PREDICTED = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")

PEAK, FLOOR, WARMUP = 3e-4, 3e-5, 2160
UNITS = Units(PEAK, 1.0 / PEAK)  # sums of the rate itself, as theirs
DELTA = 1e-3
MOST_STEPS, PATIENCE = 200, 20
RATES = np.array([5e-2, 5e-2, 5e-3, 5e-2, 5e-2, 5e-3, 5e-3])  # of L0, A, alpha, B, C, beta, gamma
WEIGHT_DECAY = 0.01
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch's defaults
DRAWS, OFF_BY = 200, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One run's rows."""

    basis: Basis
    sums: Array  # of the rate up to each row
    rates: Array
    losses: Array


def main() -> None:
    tell_if_asked(__doc__)
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Name the folder with the runs of the multi-power law.")
    folder = Path(sys.argv[1])
    print("mean relative error over six runs (mean of their largest errors)")
    for size in SIZES:
        fitted, predicted = ([read_curve(folder, size, name) for name in names] for names in (FITTED, PREDICTED))
        start = first_guess(fitted)
        as_published, total = descend(fitted, start)
        print(f"{size}  their procedure: {errors(as_published, predicted)}, sum {total:.3g}")
        rng = np.random.default_rng(0)
        means = []
        for _ in range(DRAWS):
            nearby = start.copy()
            nearby[:4] *= 1 + OFF_BY * rng.standard_normal(4)
            means.append(_errors(descend(fitted, nearby)[0], predicted)[0])
        low, middle, high = np.quantile(means, [0.05, 0.5, 0.95])
        print(f"{size}  starts off by {OFF_BY:.1%}, 5 / 50 / 95 %: {low:.5f} / {middle:.5f} / {high:.5f}")
        best, total = optimum(fitted, as_published)
        print(f"{size}  optimum of their sum: {errors(best, predicted)}, sum {total:.3g}", flush=True)


def read_curve(folder: Path, size: str, name: str) -> Curve:
    run = read_recorded_run(folder / f"{size}_{name}.csv", "val_loss")
    schedule, steps = schedule_of(name), run.steps.astype(np.float64)
    basis = MultiPowerLaw(from_zero=True).on(schedule, steps, UNITS)
    return Curve(basis, UNITS.effective(schedule, steps), schedule.rate_at(steps), run.values)


def schedule_of(name: str) -> Schedule:
    """The rates that their code gives a run by its name."""
    family, *numbers = name.split("_")
    total = 16_000 if family == "wsdcon" else int(numbers[-1])
    if family == "cosine":
        at = np.linspace(WARMUP, total - 1, 400).round()
        rates = FLOOR + (PEAK - FLOOR) * (1 + np.cos(np.pi * (at - WARMUP) / (total - WARMUP))) / 2
    elif family == "constant":
        at, rates = np.array([WARMUP, total - 1.0]), np.full(2, PEAK)
    elif family == "wsdcon":
        second = float(numbers[0]) * 1e-5
        at, rates = np.array([WARMUP, 7999.0, 8000.0, total - 1.0]), np.array([PEAK, PEAK, second, second])
    else:
        decay = int(numbers[0])
        fall = np.linspace(decay, total - 1, 200).round()
        share = (fall - decay) / (total - decay)
        low = PEAK + (FLOOR - PEAK) * share if family == "wsdld" else PEAK * (FLOOR / PEAK) ** share
        at, rates = np.append(WARMUP, fall), np.append(PEAK, low)
    return Schedule(np.append([0.0, WARMUP - 1.0], at), np.append([0.0, PEAK], rates))


def first_guess(curves: list[Curve]) -> Array:
    sums, rates, losses = (
        np.concatenate([getattr(one, name) for one in curves]) for name in ("sums", "rates", "losses")
    )
    lowest = losses.min()
    line = linregress(np.log(sums), np.log(losses - lowest + 0.01))
    size, exponent = np.exp(line.intercept), -line.slope
    starts = product(
        np.linspace(lowest - 0.2, lowest + 0.2, 5),
        np.linspace(size - 0.1, size + 0.1, 3),
        np.linspace(exponent - 0.1, exponent + 0.1, 3),
        np.linspace(100, 1000, 3),
    )

    def total(point: Array) -> float:
        level, size, exponent, gain = point
        with np.errstate(invalid="ignore", divide="ignore"):  # below zero there is no logarithm, nor for them
            residuals = np.log(losses) - np.log(level + size * sums**-exponent - gain * (PEAK - rates))
        return float(huber(DELTA, residuals).sum())

    options: Any = {"maxiter": 100_000, "ftol": 1e-9, "gtol": 1e-6, "eps": 1e-8}
    bounds = [(0, np.inf)] * 4
    ends = [minimize(total, np.array(start), method="L-BFGS-B", bounds=bounds, options=options) for start in starts]
    best: Array = min((end for end in ends if np.isfinite(end.fun)), key=lambda end: float(end.fun)).x
    return np.append(best, [1.0, 0.5, 0.5])


def descend(curves: list[Curve], start: Array) -> tuple[Array, float]:
    """The parameters after the step whose sum was the lowest, and that sum."""
    point, best, lowest, without = start, start, np.inf, 0
    first, second = np.zeros(len(start)), np.zeros(len(start))
    for step in range(1, MOST_STEPS + 1):
        residuals, slopes = _residuals(curves, point)
        total = float(huber(DELTA, residuals).sum())
        gradient = np.clip(residuals, -DELTA, DELTA) @ slopes
        first = BETA1 * first + (1 - BETA1) * gradient
        second = BETA2 * second + (1 - BETA2) * gradient**2
        update = (first / (1 - BETA1**step)) / (np.sqrt(second / (1 - BETA2**step)) + EPSILON)
        point = point * (1 - WEIGHT_DECAY * RATES) - RATES * update
        without = 0 if total < lowest else without + 1
        if total < lowest:
            best, lowest = point, total
        if step > PATIENCE + 1 and without >= PATIENCE:
            break
    return best, lowest


def optimum(curves: list[Curve], start: Array) -> tuple[Array, float]:
    """Where the same sum is lowest."""

    def residuals(logs: Array) -> Array:
        return _residuals(curves, np.exp(logs))[0]

    def slopes(logs: Array) -> Array:
        return _residuals(curves, np.exp(logs))[1] * np.exp(logs)

    found = least_squares(
        residuals,
        np.log(start),
        slopes,
        loss="huber",
        f_scale=DELTA,
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
        max_nfev=3000,
    )
    return np.exp(found.x), float(huber(DELTA, _residuals(curves, np.exp(found.x))[0]).sum())


def _residuals(curves: list[Curve], point: Array) -> tuple[Array, Array]:
    """Log residuals of all rows, and their derivatives by the parameters, (n, 7)."""
    parts = [_one(curve, point) for curve in curves]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _one(curve: Curve, point: Array) -> tuple[Array, Array]:
    level, size, exponent, gain, speed, fading, slowing = point
    shapes = _shapes(point)
    columns, by_log = curve.basis.columns(shapes), curve.basis.slopes(shapes)
    predicted = level + size * columns[:, 1] + gain * PEAK * columns[:, 2]
    slopes = np.stack(
        [
            columns[:, 0],
            columns[:, 1],
            size * by_log[0, :, 1] / exponent,
            PEAK * columns[:, 2],
            gain * PEAK * by_log[1, :, 2] / speed,
            gain * PEAK * by_log[2, :, 2] / fading,
            gain * PEAK * (by_log[3, :, 2] / slowing - np.log(PEAK) * by_log[1, :, 2]),
        ],
        axis=1,
    )
    # Their losses are in single precision here, and nowhere else.
    residuals = np.log(curve.losses.astype(np.float32)) - np.log(predicted)
    return residuals, -slopes / predicted[:, None]


def _shapes(point: Array) -> Array:
    """Exponent, speed at the peak rate, and the two exponents of the drop."""
    _, _, exponent, _, speed, fading, slowing = point
    return np.array([exponent, speed * PEAK**-slowing, fading, slowing])


def errors(point: Array, curves: list[Curve]) -> str:
    mean, worst = _errors(point, curves)
    return f"{mean:.5f} ({worst:.5f})"


def _errors(point: Array, curves: list[Curve]) -> tuple[float, float]:
    level, size, _, gain, *_ = point
    off = [np.abs(one.basis.columns(_shapes(point)) @ [level, size, gain * PEAK] / one.losses - 1) for one in curves]
    return float(np.mean([one.mean() for one in off])), float(np.mean([one.max() for one in off]))


if __name__ == "__main__":
    main()
