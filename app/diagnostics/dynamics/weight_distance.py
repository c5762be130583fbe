r"""How the weights wander from where they began.

At a large steady rate the distance grows like the logarithm of the step, as in a random walk through a random
landscape [1]_: "ultra-slow diffusion". A walk without a landscape goes like the square root, and weights that are
pulled one way go straight. So both laws are fitted, :math:`a + b \ln t` and :math:`c\,t^\nu`.

.. [1] E. Hoffer, I. Hubara and D. Soudry, "Train longer, generalize better: closing the generalization gap in large
   batch training of neural networks," NeurIPS 2017, arXiv:1705.08741.
"""

from __future__ import annotations

import numpy as np

from app.diagnostics.dynamics.dynamic import Dynamic, Floats, now, share_explained

FEWEST_POINTS = 12
FROM_SHARE = 0.01
"""Of the steps; before, a warm-up decides."""

STRAIGHT = 0.75
DIFFUSION = 0.35
"""Exponents from which on the way is nearly straight, and a diffusion."""

HOLDS = 0.95
"""R² below which neither law is said to hold."""

STEADY_RATE = 2.0
"""Where the largest and smallest rate over the points differ by more, the schedule bends the curve too."""


NEITHER = "follows neither a logarithm nor a power of the step"


def weight_distance(metric: str, steps: Floats, distances: Floats, rates: Floats | None = None) -> Dynamic | None:
    """What is said of the way of the weights; None with too few points.

    Parameters
    ----------
    steps : shape (n,), increasing [steps]
    distances : shape (n,)
        Of all weights from their start, absolute or over the norm at the start.
    rates : shape (n,), optional
        Learning rate at these steps.
    """
    used = (steps >= max(1.0, FROM_SHARE * steps[-1])) & (distances > 0) if len(steps) else np.empty(0, np.bool_)
    if used.sum() < FEWEST_POINTS:
        return None
    steps, distances = steps[used], distances[used]
    logs = np.log(steps)
    slope, constant = np.polyfit(logs, distances, 1)
    exponent, factor = np.polyfit(logs, np.log(distances), 1)
    of_logarithm = share_explained(distances, constant + slope * logs)
    of_power = share_explained(distances, np.exp(factor) * steps**exponent)
    explained = max(of_logarithm, of_power)
    text = _text(of_logarithm >= of_power and slope > 0, float(exponent)) if explained >= HOLDS else NEITHER
    varied = rates is not None and _varies(rates[used])
    if varied:
        text += "; the rate changed meanwhile, which bends the curve too"
    return Dynamic(
        kind="weight_distance",
        metrics=(metric,),
        text=f"{metric} {text} (R² {explained:.3f}), now {now(distances):.3g}.",
        numbers={
            "log_slope": float(slope),
            "log_r2": of_logarithm,
            "exponent": float(exponent),
            "power_r2": of_power,
            "now": now(distances),
        },
    )


def _text(is_logarithmic: bool, exponent: float) -> str:
    if is_logarithmic:
        return "grows like the logarithm of the step: ultra-slow diffusion"
    if exponent < 0.05:
        return "does not grow"
    kind = (
        "nearly straight" if exponent > STRAIGHT else ("diffusion" if exponent > DIFFUSION else "slower than diffusion")
    )
    return f"grows like step^{exponent:.2f}: {kind}"


def _varies(rates: Floats) -> bool:
    finite = rates[np.isfinite(rates) & (rates > 0)]
    return len(finite) > 0 and float(finite.max() / finite.min()) > STEADY_RATE
