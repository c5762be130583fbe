"""Rules that others publish, on rows of a log: losses, gradient norms and validation losses, NaN where none is."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rule = Callable[[Floats, Floats, Floats], npt.NDArray[np.bool_]]


def windowed(values: Floats, *, window: int, deviations: float, fewest: int) -> npt.NDArray[np.bool_]:
    """Above the mean of the last `window` values by so many standard deviations."""
    own = np.flatnonzero(np.isfinite(values))
    x = values[own]
    total, squares = np.concatenate([[0], np.cumsum(x)]), np.concatenate([[0], np.cumsum(x**2)])
    end = np.arange(len(x))
    begin = np.maximum(0, end - window)
    n = np.maximum(1, end - begin)
    mean = (total[end] - total[begin]) / n
    deviation = np.sqrt(np.maximum(0, (squares[end] - squares[begin]) / n - mean**2))
    hits = np.zeros(len(values), np.bool_)
    hits[own] = (end >= fewest) & (x > mean + deviations * deviation)
    return hits


def olmo2(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """OLMo 2's spike score: seven standard deviations from the mean of the last thousand, either series."""
    return windowed(loss, window=1000, deviations=7, fewest=1000) | windowed(
        norm, window=1000, deviations=7, fewest=1000
    )


def olmo_core(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """OLMo-core's StabilityMonitor: six standard deviations above the mean of the last 128, either series."""
    return windowed(loss, window=128, deviations=6, fewest=128) | windowed(norm, window=128, deviations=6, fewest=128)


def zclip(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """ZClip's z above 2.5 over an average of the clipped gradient norm, 25 points to warm up, factor 0.97."""
    hits = np.zeros(len(norm), np.bool_)
    warm: list[float] = []
    mean = variance = 0.0
    for i in np.flatnonzero(np.isfinite(norm)).tolist():
        value = float(norm[i])
        if len(warm) < 25:
            warm.append(value)
            mean, variance = float(np.mean(warm)), float(np.var(warm))
            continue
        deviation = math.sqrt(variance)
        z = (value - mean) / (deviation + 1e-6)
        if z > 2.5:
            hits[i] = True
            value = mean + 2.5 * deviation / (z / 2.5)
        mean = 0.97 * mean + 0.03 * value
        variance = 0.97 * variance + 0.03 * (value - mean) ** 2
    return hits


def kill_loss_spike(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """llm-foundry's KillLossSpike: five losses running at twice the window's mean, or half a window above the cap."""
    own = np.flatnonzero(np.isfinite(loss))
    hits = np.zeros(len(loss), np.bool_)
    window = max(100, len(own) // 20)
    high = 0
    for j in range(window, len(own)):
        past = loss[own[j - window : j]]
        high = high + 1 if loss[own[j]] >= 2 * past.mean() else 0
        cap = min(10.0, float(loss[own[:window]].max()))
        hits[own[j]] = high >= 5 or (j >= 2 * window and bool(np.mean(past > cap) >= 0.5))
    return hits


def megatron(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """Megatron's rerun machine: ten times the largest of the first hundred, or not finite."""
    hits = np.isinf(loss) | np.isinf(norm)
    for values in (loss, norm):
        own = np.flatnonzero(np.isfinite(values))
        if len(own) > 100:
            hits[own[100:]] |= values[own[100:]] >= 10 * values[own[:100]].max()
    return hits


def not_finite(loss: Floats, norm: Floats, val: Floats) -> npt.NDArray[np.bool_]:
    """Lightning's check_finite on the monitored loss."""
    return np.isinf(loss)


def patience(loss: Floats, norm: Floats, val: Floats, *, checks: int) -> npt.NDArray[np.bool_]:
    """Early stopping: so many evaluations without a new best; it begins anew after it has spoken."""
    hits = np.zeros(len(val), np.bool_)
    best, waited = math.inf, 0
    for i in np.flatnonzero(np.isfinite(val)).tolist():
        waited = 0 if val[i] < best else waited + 1
        best = min(best, float(val[i]))
        if waited == checks:
            hits[i], waited = True, 0
    return hits


RULES: dict[str, Rule] = {
    "OLMo 2, 7 sd of 1000": olmo2,
    "OLMo-core, 6 sd of 128": olmo_core,
    "ZClip, z > 2.5": zclip,
    "KillLossSpike": kill_loss_spike,
    "Megatron, 10 x of first 100": megatron,
    "Lightning, check_finite": not_finite,
    "patience 3": partial(patience, checks=3),
    "patience 10": partial(patience, checks=10),
}
