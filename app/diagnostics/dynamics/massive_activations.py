r"""The law by which massive activations come up in a layer.

The ratio of the largest activation to the median one follows, in 188 layers of Pythia models with a mean R² of 0.984,
:math:`f(t) = A e^{-\lambda x} \ln x + K` with :math:`x = \gamma t + t_0` [1]_: layers in the middle grow like the
logarithm, shallow and deep ones peak early and fall. Growth is the rule here and no fault; what leaves its own law is
worth a look.

.. [1] J. Gallego-Feliciano et al., "Hidden Dynamics of Massive Activations in Transformer Training,"
   arXiv:2508.03616, 2025.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import least_squares
from scipy.special import lambertw

from app.diagnostics.dynamics.dynamic import Dynamic, Floats, share_explained

FEWEST_POINTS = 20
MOST_POINTS = 80
GRID_POINTS = 40

MOST_OF_A_BLOCK = 64
"""So many of its points, evenly spread, its median is of."""

MASSIVE = 100.0
"""A ratio that was never above it is no massive activation; M. Sun et al. (COLM 2024) draw the line at 1,000."""

HOLDS = 0.8
"""R² below which the law is said not to hold in a layer."""

SMALLEST_SHAPE = 1e-24
"""Sum of squares below which a shape is flat."""

TOLD_APART = 100.0
"""An amplitude so many times the range of the ratios trades against the other parameters: none of them is told."""

AHEAD = 1.5
"""Up to so many times the steps seen a peak to come is named: further ahead the fit knows nothing of it."""

HELD_BACK = 0.1
DEPARTED = 6.0
"""The newest tenth of the points is compared with the law through the others: it departs beyond so many standard
deviations of theirs."""

# x over the whole run, at its start, and the decay in x. Wide enough for a peak within the first percent of a run, and
# for none at all.
_SPANS = np.geomspace(0.3, 3e4, 22)
_STARTS = np.geomspace(1.0, 30.0, 8)
_DECAYS = np.concatenate([[0.0], np.geomspace(1e-5, 3.0, 24)])


@dataclass(frozen=True, slots=True)
class MassiveLaw:
    """The five parameters, and how well they hold.

    amplitude, constant : A and K [ratio]
    decay : λ [per unit of x]
    pace, start : γ [per step] and t₀
    explained : R²
    residual : standard deviation of what is left [ratio]
    """

    amplitude: float
    constant: float
    decay: float
    pace: float
    start: float
    explained: float
    residual: float

    def at(self, steps: Floats) -> Floats:
        x = self.pace * steps + self.start
        ratios: Floats = self.amplitude * np.exp(-self.decay * x) * np.log(x) + self.constant
        return ratios

    @property
    def turn(self) -> float:
        r"""The step of the peak (of the lowest point where A < 0), :math:`(e^{W(1/\lambda)} - t_0) / \gamma`."""
        if self.decay <= 0:
            return math.inf
        return float((math.exp(lambertw(1 / self.decay).real) - self.start) / self.pace)


def fit_massive_law(steps: Floats, ratios: Floats) -> MassiveLaw | None:
    """Least squares: λ, γ and t₀ from a grid and then from its best point on, A and K exactly at each.

    Parameters
    ----------
    steps : shape (n,), increasing, not negative [steps]
    ratios : shape (n,), finite

    Returns
    -------
    MassiveLaw or None
        None with fewer than `FEWEST_POINTS` points, or where they do not vary.
    """
    if len(steps) < FEWEST_POINTS or np.ptp(ratios) == 0 or steps[-1] <= 0:
        return None
    last = float(steps[-1])
    share = steps / last
    spans, starts, decays = (one.ravel() for one in np.meshgrid(_SPANS, _STARTS, _DECAYS, indexing="ij"))
    some = np.unique(np.linspace(0, len(steps) - 1, GRID_POINTS).round().astype(int))
    x = spans[:, None] * share[some] + starts[:, None]
    best = int(np.argmin(_left(np.exp(-decays[:, None] * x) * np.log(x), ratios[some])))
    start = np.log([spans[best], starts[best], max(decays[best], 1e-6)])
    low, high = np.log([0.03, 1.0, 1e-9]), np.log([1e6, 1e3, 30.0])

    def residuals(logs: Floats) -> Floats:
        law = _linear(share, ratios, *np.exp(logs))
        left: Floats = law[2] - ratios
        return left

    found = least_squares(residuals, np.clip(start, low + 1e-9, high - 1e-9), bounds=(low, high), max_nfev=60)
    span, begin, decay = np.exp(found.x)
    amplitude, constant, fitted = _linear(share, ratios, span, begin, decay)
    residual = math.sqrt(float(((ratios - fitted) ** 2).sum()) / (len(ratios) - 5))
    explained = share_explained(ratios, fitted)
    return MassiveLaw(amplitude, constant, float(decay), float(span) / last, float(begin), explained, residual)


def _left(shapes: Floats, ratios: Floats) -> Floats:
    """Of each shape: the sum of squares that a straight line through it leaves."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    of_ratios = ratios - ratios.mean()
    sizes = (centred**2).sum(axis=1)
    # A decay that leaves nothing within the run explains nothing; its tiny squares would divide into anything.
    explained = np.where(sizes > SMALLEST_SHAPE, (centred @ of_ratios) ** 2 / np.maximum(sizes, SMALLEST_SHAPE), 0.0)
    left: Floats = float((of_ratios**2).sum()) - explained
    return left


def _linear(share: Floats, ratios: Floats, span: float, start: float, decay: float) -> tuple[float, float, Floats]:
    x = span * share + start
    shape = np.exp(-decay * x) * np.log(x)
    centred = shape - shape.mean()
    size = float((centred**2).sum())
    amplitude = float((centred * (ratios - ratios.mean())).sum()) / size if size > SMALLEST_SHAPE else 0.0
    constant = float(ratios.mean()) - amplitude * float(shape.mean())
    return amplitude, constant, amplitude * shape + constant


def departure(steps: Floats, ratios: Floats) -> float | None:
    """How far the newest tenth lies from the law through the rest, in its standard deviations; None: cannot be said."""
    held_back = max(3, round(HELD_BACK * len(steps)))
    law = fit_massive_law(steps[:-held_back], ratios[:-held_back])
    if law is None or law.explained < HOLDS or law.residual == 0:
        return None
    return float(np.median(ratios[-held_back:] - law.at(steps[-held_back:]))) / law.residual


def massive_activations(metric: str, steps: Floats, ratios: Floats) -> Dynamic | None:
    """What is said of one layer; None with too few points."""
    steps, ratios = _thinned(steps, ratios)
    return _said(metric, steps.tobytes(), ratios.tobytes())


# A page asks again every few seconds, and blocks are whole: until the next one is, the answer is the same.
@lru_cache(maxsize=256)
def _said(metric: str, step_bytes: bytes, ratio_bytes: bytes) -> Dynamic | None:
    steps, ratios = np.frombuffer(step_bytes), np.frombuffer(ratio_bytes)
    law = fit_massive_law(steps, ratios)
    if law is None:
        return None
    holds = law.explained >= HOLDS
    away = departure(steps, ratios) if holds else None
    text = f"{metric}, largest activation over the median: "
    text += _course(law, float(steps[0]), float(steps[-1])) if holds else "follows no law of massive activations"
    text += f" (R² {law.explained:.2f}), {ratios[-1]:.3g} now"
    if ratios.max() < MASSIVE:
        text += "; nothing massive so far"
    if away is not None and abs(away) > DEPARTED:
        side = "above" if away > 0 else "below"
        text += f"; the newest points lie {side} what the run before them would have had"
    return Dynamic(
        kind="massive_activations",
        metrics=(metric,),
        text=f"{text}.",
        numbers={
            **dict.fromkeys(("amplitude", "constant", "decay", "pace", "start")),
            **(_parameters(law) if holds and abs(law.amplitude) <= TOLD_APART * float(np.ptp(ratios)) else {}),
            "r2": law.explained,
            "turn_step": law.turn if holds and 0 < law.turn <= AHEAD * float(steps[-1]) else None,
            "departure": away,
            "now": float(ratios[-1]),
        },
    )


def _parameters(law: MassiveLaw) -> dict[str, float]:
    return {
        "amplitude": law.amplitude,
        "constant": law.constant,
        "decay": law.decay,
        "pace": law.pace,
        "start": law.start,
    }


def _course(law: MassiveLaw, first: float, last: float) -> str:
    rises, turn = law.amplitude > 0, law.turn
    if turn <= first:
        return "has fallen from the start" if rises else "has risen from the start"
    if turn <= last:
        return f"{'peaked' if rises else 'was lowest'} at step {turn:,.0f}, has {'fallen' if rises else 'risen'} since"
    way = "rises" if rises else "falls"
    return f"{way}, until step {turn:,.0f} or so" if turn <= AHEAD * last else f"{way} like the logarithm of the step"


def _thinned(steps: Floats, ratios: Floats) -> tuple[Floats, Floats]:
    """Medians of neighbours where there are many: one batch's largest activation is an extreme value.

    A block has a power of two of points and stays as it is once it is whole; what comes after the last one waits.
    """
    if len(steps) <= MOST_POINTS:
        return steps, ratios
    size = 2 ** math.ceil(math.log2(len(steps) / MOST_POINTS))
    blocks = len(steps) // size
    some = slice(None, None, max(1, size // MOST_OF_A_BLOCK))
    shape = (blocks, size)
    return steps[: blocks * size].reshape(shape).mean(axis=1), np.median(
        ratios[: blocks * size].reshape(shape)[:, some], axis=1
    )
