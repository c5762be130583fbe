"""Units that do nothing, and units that do too much."""

from __future__ import annotations

import math
from typing import Dict

from losscast.probe.arrays import Array, ProbeError, library

MEASURES = ("dead_share", "dormant_share", "massive_ratio", "largest", "rms")

DORMANT_SCORE = 0.025
"""Mean size of a unit's activation over the layer's, at most so much: dormant (G. Sokar et al., "The Dormant Neuron
Phenomenon in Deep Reinforcement Learning," ICML 2023)."""


def unit_measures(matrix: Array) -> Dict[str, float]:
    """Measures of a layer's activations.

    Parameters
    ----------
    matrix : array, shape (n_rows, n_units)
        After the activation function for dead units, the residual stream for massive activations. Doubles.

    Returns
    -------
    dict
        ``dead_share`` : share of the units that are not above 0 in any row; means something after a ReLU only.
        ``dormant_share`` : share of the units whose mean size is at most 1/40 of the layer's.
        ``massive_ratio`` : largest size of an activation over the median size, after M. Sun et al., "Massive
        Activations in Large Language Models," COLM 2024; infinite where more than half of them are 0.
        ``largest`` : that largest size.
        ``rms`` : root mean square.
    """
    sizes = abs(matrix)
    layer = float(sizes.mean())
    if not math.isfinite(layer):
        raise ProbeError("the activations are not finite")
    n_units = int(matrix.shape[1])
    largest, median = float(sizes.max()), _median(sizes)
    ratio = largest / median if median > 0 else (math.inf if largest > 0 else math.nan)
    return {
        "dead_share": float(((matrix > 0).sum(0) == 0).sum()) / n_units,
        "dormant_share": float((sizes.mean(0) <= DORMANT_SCORE * layer).sum()) / n_units,
        "massive_ratio": ratio,
        "largest": largest,
        "rms": math.sqrt(float((matrix * matrix).mean())),
    }


def _median(sizes: Array) -> float:
    """numpy's: the mean of the two in the middle. torch's own takes the lower one, and its quantile refuses 16M."""
    flat = sizes.reshape(-1)
    in_order = library(flat).sort(flat)
    if isinstance(in_order, tuple):  # torch says the places too
        in_order = in_order[0]
    n = int(flat.shape[0])
    return 0.5 * (float(in_order[(n - 1) // 2]) + float(in_order[n // 2]))
