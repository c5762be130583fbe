"""What one refit costs as a run grows: one more batch into the reduction, then a forecast; beside a peer.

Run ``python -m benchmarks.refit_cost [LARGEST]`` (default: up to 10,000,000 points). CPU time of the process, median of
several refits. Set ``OPENBLAS_NUM_THREADS=1``, as a worker should: matrices of 40 rows gain nothing from threads, and
threads that wait burn CPU. ``law``: the annealing law's part of the forecast alone.

The peer is the way of the law's paper: minimise the Huber loss of the log residual (delta 1e-3) by L-BFGS from many
starts, once for each of three decay factors, with the same exact features; on the same bins, and on all points up to a
million. It yields a point, no band. The curves are drawn from the law itself plus noise: this measures time, not
accuracy (`benchmarks.forecast_accuracy` does).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from app.curves.plan import Plan
from app.curves.reduction import Reduction
from app.curves.schedule import Schedule
from app.forecasting.forecast import forecast_curve, mix
from app.forecasting.law import LawForecaster
from app.forecasting.observations import observe
from app.laws.annealing import annealing_response, effective_steps
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

LENGTHS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BATCH = 100
SEEN = 0.7
LARGEST_FOR_PEER = 1_000_000
HUBER = 1e-3
DECAYS = (0.99, 0.999, 0.9999)
BOUNDS = ((-30, 10), (-30, 10), (-30, 10), (-4, 1.5))
"""Of log L0, log A, log D, log alpha."""
STARTS = tuple(product((0.5, 0.9), (0.2, 1.0), (0.01, 0.1), (0.3, 0.6)))  # L0 and A over the loss, D over it, alpha


def main() -> None:
    tell_if_asked(__doc__)
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else LENGTHS[-1]
    print(f"CPU of one refit [ms]: {BATCH} new points, then the forecast.")
    print(f"Peer: the best of {len(STARTS) * len(DECAYS)} fits by L-BFGS.\n")
    print("    points  bins  extend     law  forecast  sum   | peer on bins  peer on all points")
    for length in LENGTHS:
        if length <= largest:
            print(_row(length))


def _row(length: int) -> str:
    plan = _plan(round(length / SEEN))
    steps = np.arange(length, dtype=np.int64)
    values = _losses(plan.schedule, steps)
    before = Reduction.empty().extend(steps[:-BATCH], values[:-BATCH])
    extend = _cpu_milliseconds(lambda: before.extend(steps[-BATCH:], values[-BATCH:]), repeats=50)
    curve = before.extend(steps[-BATCH:], values[-BATCH:]).to_curve()
    law = _cpu_milliseconds(lambda: _afresh(lambda: mix(curve, plan, ((LawForecaster(), 1.0),))), repeats=30)
    forecast = _cpu_milliseconds(lambda: _afresh(lambda: forecast_curve(curve, plan)), repeats=30)
    on_bins = _cpu_milliseconds(lambda: fit_point(curve.steps, curve.values, plan.schedule), repeats=1)
    on_all = "not tried"
    if length <= LARGEST_FOR_PEER:
        starts = STARTS if length < LARGEST_FOR_PEER else STARTS[:1]
        spent = _cpu_milliseconds(lambda: fit_point(steps.astype(float), values, plan.schedule, starts), repeats=1)
        on_all = f"{spent * len(STARTS) / len(starts):,.0f}" + ("" if starts is STARTS else " (one start, scaled)")
    ours = f"{length:10,} {len(curve):5} {extend:7.2f} {law:7.2f} {forecast:9.2f} {extend + forecast:6.2f}"
    return f"{ours} | {on_bins:11,.0f}   {on_all}"


def _afresh(work: Callable[[], object]) -> None:
    """As for a curve that was never seen: what forecasters share within one refit is not kept for the next."""
    observe.cache_clear()
    work()


def fit_point(
    steps: Array, values: Array, schedule: Schedule, starts: tuple[tuple[float, ...], ...] = STARTS
) -> tuple[float, Array, float]:
    """The best point fit of the law: loss of the fit, (log L0, log A, log D, log alpha), and the decay factor."""
    kept = steps >= schedule.warmup_end
    x = effective_steps(schedule, steps[kept])
    log_x, logs = np.log(x / x[-1]), np.log(values[kept])
    best = (np.inf, np.empty(4), DECAYS[0])
    for decay in DECAYS:
        response = annealing_response(schedule, steps[kept], [1 / (1 - decay)])[0]
        for start in starts:
            scaled = np.log(np.array(start) * np.array([values[-1], values[-1], values[-1], 1.0]))
            found = minimize(_huber_of_log, scaled, (log_x, response, logs), "L-BFGS-B", jac=True, bounds=BOUNDS)
            if found.fun < best[0]:
                best = (float(found.fun), found.x, decay)
    return best


def _huber_of_log(parameters: Array, log_x: Array, response: Array, logs: Array) -> tuple[float, Array]:
    """Mean Huber loss of the log residual and its gradient, in units of HUBER^2: L-BFGS-B stops at slopes of 1e-5."""
    level, scale, gain, exponent = np.exp(parameters)
    power = np.exp(-exponent * log_x)
    predicted = level + scale * power - gain * response
    safe = np.maximum(predicted, 1e-9)
    residual = np.log(safe) - logs
    size = np.abs(residual)
    loss = np.where(size < HUBER, residual**2 / 2, HUBER * (size - HUBER / 2))
    outer = np.clip(residual, -HUBER, HUBER) / safe * (predicted > 1e-9) / len(logs)
    inner = np.stack([np.full_like(power, level), scale * power, -gain * response, -scale * power * log_x * exponent])
    return float(loss.mean()) / HUBER**2, inner @ outer / HUBER**2


def _plan(total: int) -> Plan:
    schedule = Schedule(np.array([0.0, 0.01, 0.6, 1.0]) * total, np.array([0.0, 1.0, 1.0, 0.0]))
    return Plan(total, "declared", "The benchmark's.", schedule, "declared", "wsd_linear", "The benchmark's.")


def _losses(schedule: Schedule, steps: npt.NDArray[np.int64]) -> Array:
    x = effective_steps(schedule, steps)
    response = annealing_response(schedule, steps, [0.02 * schedule.steps[-1]])[0]
    noise = 0.03 * np.random.default_rng(0).standard_normal(len(steps))
    losses: Array = 2.5 + 1.0 * (x / x[-1] + 1e-3) ** -0.4 - 0.2 * response + noise
    return losses


def _cpu_milliseconds(work: Callable[[], object], repeats: int) -> float:
    if repeats > 1:
        work()  # caches of fixed normals, pages of memory
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return 1e3 * float(np.median(spent))


if __name__ == "__main__":
    main()
