r"""How large a step is for the weights it is made in.

Weights that are followed by a normalisation have no scale of their own: for them :math:`\eta / \lVert w \rVert^2` is
the rate that counts [1]_. It falls with the schedule, and again where the weights grow.

.. [1] Z. Li and S. Arora, "An Exponential Learning Rate Schedule for Deep Learning," ICLR 2020, arXiv:1910.07454.
"""

from __future__ import annotations

import numpy as np

from app.diagnostics.dynamics.dynamic import Dynamic, Floats, now

FEWEST_POINTS = 12


def effective_rate(
    metrics: tuple[str, ...], rates: Floats, norms: Floats, updates: tuple[str, Floats] | None = None
) -> Dynamic | None:
    """What is said of it; None with too few points.

    Parameters
    ----------
    metrics : tuple of str
        Of the rate and the norm.
    rates, norms : shape (n,)
        Learning rate and norm of all weights at the same steps.
    updates : (str, shape (n,)), optional
        The metric of the norm of the optimizer's step, and its values there.
    """
    used = np.isfinite(rates) & (rates > 0) & np.isfinite(norms) & (norms > 0)
    if used.sum() < FEWEST_POINTS:
        return None
    effective = rates[used] / norms[used] ** 2
    peak = int(np.argmax(effective))
    level, highest = now(effective), float(effective[peak])
    by_schedule = now(rates[used]) / float(rates[used][peak])
    by_weights = (float(norms[used][peak]) / now(norms[used])) ** 2
    text = (
        f"The effective rate is {level:.3g} now, {level / highest:.2g} times its largest: since then the schedule "
        f"multiplied it by {by_schedule:.2g}, the size of the weights by {by_weights:.2g}"
    )
    numbers: dict[str, float | None] = {
        "now": level,
        "largest": highest,
        "by_schedule": by_schedule,
        "by_weights": by_weights,
    }
    if updates is not None and np.isfinite(updates[1][used]).all():
        step = now(updates[1][used] / norms[used])
        numbers["step_over_weights"] = step
        metrics = (*metrics, updates[0])
        text += f". A step moves the weights by {step:.2g} of their norm"
    return Dynamic("effective_rate", metrics, f"{text}.", numbers)
