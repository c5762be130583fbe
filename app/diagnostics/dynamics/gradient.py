r"""How much of a gradient is signal, and what follows for the batch size.

**Noise scale.** :math:`B_{noise} = \mathrm{tr}(\Sigma) / |G|^2`, the critical batch size: a step with a batch of
:math:`B` samples makes :math:`1 / (1 + B_{noise}/B)` of the progress of one with the exact gradient, and a sample
:math:`1 / (1 + B/B_{noise})` of what it could in a small batch [1]_. It usually grows as the loss falls.

**Phase.** While :math:`|G|^2` is above the noise of the batch's gradient, weights drift; below it they diffuse [2]_.

.. [1] S. McCandlish et al., "An Empirical Model of Large-Batch Training," arXiv:1812.06162, 2018.
.. [2] R. Shwartz-Ziv and N. Tishby, "Opening the Black Box of Deep Neural Networks via Information,"
   arXiv:1703.00810, 2017; there with norms of the layers' mean gradients and of their standard deviations.
"""

from __future__ import annotations

import numpy as np

from app.diagnostics.dynamics.dynamic import Dynamic, Floats, now
from app.diagnostics.trend import fit_trend

FEWEST_POINTS = 12
MOST_BLOCKS = 24


def noise_scale(metric: str, steps: Floats, scales: Floats, batch: tuple[str, float] | None = None) -> Dynamic | None:
    """What is said of the critical batch size; None with too few points.

    Parameters
    ----------
    steps : shape (n,), increasing [steps]
    scales : shape (n,)
        Infinite or not positive where no signal could be told from the noise. [samples]
    batch : (str, float), optional
        The metric of the batch size, and its newest value. [samples]
    """
    if len(steps) < FEWEST_POINTS:
        return None
    # A noise scale that cannot be told is large, not missing.
    known = np.where(np.isfinite(scales) & (scales > 0), scales, np.inf)
    level = now(known)
    numbers: dict[str, float | None] = {"now": level if np.isfinite(level) else None}
    if not np.isfinite(level):
        text = (
            f"{metric}: no signal can be told from the noise now; the critical batch size lies beyond what was measured"
        )
        return Dynamic("noise_scale", (metric,), f"{text}.", numbers)
    text = f"{metric} is {_amount(level)} now"
    used = np.isfinite(known) & (steps > 0)
    trend = fit_trend(steps[used], np.log(known[used]))
    numbers["exponent"] = None if trend is None else trend.slope
    if trend is not None and abs(trend.slope) > 2 * trend.slope_error:
        text += f", {'growing' if trend.slope > 0 else 'falling'} like step^{trend.slope:.2f}"
    if batch is None or not batch[1] > 0:
        return Dynamic("noise_scale", (metric,), f"{text}.", numbers)
    of_step, of_sample = 1 / (1 + level / batch[1]), 1 / (1 + batch[1] / level)
    numbers |= {"batch_size": batch[1], "step_efficiency": of_step, "sample_efficiency": of_sample}
    text += (
        f". At a batch of {_amount(batch[1])}, if that counts the same unit, a step makes {100 * of_step:.0f} % of the "
        f"progress that the exact gradient would, and a sample {100 * of_sample:.0f} % of what it could"
    )
    return Dynamic("noise_scale", (metric, batch[0]), f"{text}.", numbers)


def gradient_phase(metric: str, steps: Floats, ratios: Floats) -> Dynamic | None:
    """Drift or diffusion, and since when; None with too few points.

    Parameters
    ----------
    steps : shape (n,), increasing [steps]
    ratios : shape (n,)
        Squared norm of the mean gradient over the noise of a batch's: an unbiased estimate may be negative.
    """
    told = ~np.isnan(ratios)
    steps, ratios = steps[told], ratios[told]
    if len(steps) < FEWEST_POINTS:
        return None
    pieces = np.array_split(np.arange(len(steps)), min(MOST_BLOCKS, len(steps) // 3))
    levels = np.array([float(np.median(ratios[at])) for at in pieces])
    drifts = levels > 1.0
    since = len(drifts) - int(np.argmax(drifts[::-1] != drifts[-1])) if (drifts != drifts[-1]).any() else 0
    began = float(steps[pieces[since][0]])
    phase = "drift" if drifts[-1] else "diffusion"
    what = "signal outweighs the noise of a batch" if drifts[-1] else "noise of a batch outweighs the signal"
    when = f" since step {began:,.0f}" if since else " from the start"
    level = float(levels[-1])
    return Dynamic(
        kind="gradient_phase",
        metrics=(metric,),
        text=f"Gradients: {phase}{when}; the {what} ({metric} {level:.2g} now).",
        numbers={"now": level if np.isfinite(level) else None, "is_drift": float(drifts[-1]), "since_step": began},
    )


def _amount(number: float) -> str:
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"
