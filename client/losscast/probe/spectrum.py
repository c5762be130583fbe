"""How many directions a layer's features make use of, by every measure in use, each under a name of its own.

Two matrices are in use, and they give different numbers on the same features: Z itself with its singular values s, and
the centred covariance with its eigenvalues λ. Every measure below says which one it reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Dict, Tuple

from losscast.probe.arrays import Array, ProbeError, eigenvalues, library

MEASURES = (
    "rankme",
    "rankme_covariance",
    "effective_rank",
    "participation_ratio",
    "stable_rank",
    "spectral_entropy",
    "top_share",
    "alpha",
    "alpha_r2",
    "unit_spread",
)

RANKME_EPSILON = 1e-7
"""Added to every share, as in the paper and in its followers' code."""

ALPHA_RANKS = (5, 100)
"""Ranks that the power law is fitted to, the first and the last: the head of a spectrum follows none."""

FEWEST_ALPHA_RANKS = 5


def spectrum(matrix: Array) -> Dict[str, float]:
    r"""Measures of the spectrum of features.

    Parameters
    ----------
    matrix : array, shape (n_rows, n_units)
        Doubles. With fewer than about four rows a unit the covariance's measures are biased towards few directions.

    Returns
    -------
    dict
        ``rankme`` : :math:`\exp H(p)`, :math:`p = s / \sum s + 10^{-7}`, of Z as it is [1]_.
        ``rankme_covariance`` : the same formula on λ, which some code calls RankMe too; 1.5 to 2 times smaller.
        ``effective_rank`` : :math:`\exp H(\lambda / \sum\lambda)`; [2]_ with the eigenvalues of the covariance.
        ``participation_ratio`` : :math:`(\sum\lambda)^2 / \sum\lambda^2`.
        ``stable_rank`` : :math:`\sum s^2 / s_1^2`, of Z as it is.
        ``spectral_entropy`` : :math:`H(\lambda / \sum\lambda) / \ln d`, between 0 and 1, d the number of λ.
        ``top_share`` : :math:`\lambda_1 / \sum\lambda`, the share of the variance along one direction.
        ``alpha`` : α of :math:`\lambda_i \propto i^{-\alpha}`, ranks 5 to 100, weights 1/i [3]_; NaN below ten λ.
        ``alpha_r2`` : R² of that fit, unweighted.
        ``unit_spread`` : mean standard deviation of the units of rows scaled to length 1, times :math:`\sqrt d`: 1
        for features spread over the sphere, 0 for collapsed ones [4]_.

    Notes
    -----
    .. [1] Q. Garrido et al., "RankMe," ICML 2023.
    .. [2] O. Roy and M. Vetterli, "The effective rank," EUSIPCO 2007.
    .. [3] K. Agrawal et al., "α-ReQ," NeurIPS 2022.
    .. [4] X. Chen and K. He, "Exploring Simple Siamese Representation Learning," CVPR 2021.
    """
    xp = library(matrix)
    squared = eigenvalues(matrix)
    covariance = eigenvalues(matrix - matrix.mean(0))
    if squared[0] == 0:
        raise ProbeError("all features are zero")
    singular = [math.sqrt(value) for value in squared]
    lengths = xp.sqrt((matrix * matrix).sum(1))
    on_sphere = matrix / xp.where(lengths > 0, lengths, 1.0)[:, None]
    spread = xp.sqrt(((on_sphere - on_sphere.mean(0)) ** 2).mean(0)).mean()
    measures = {
        "rankme": math.exp(entropy(singular, RANKME_EPSILON)),
        "stable_rank": sum(squared) / squared[0],
        "unit_spread": float(spread) * math.sqrt(int(matrix.shape[1])),
    }
    # Rows that are all the same have no covariance: their one direction is its own share.
    if covariance[0] <= 1e-24 * squared[0]:
        return {**dict.fromkeys(MEASURES, math.nan), **measures, "effective_rank": 0.0, "participation_ratio": 0.0}
    alpha, fit = power_law(covariance)
    bits = entropy(covariance)
    return {
        **measures,
        "rankme_covariance": math.exp(entropy(covariance, RANKME_EPSILON)),
        "effective_rank": math.exp(bits),
        "participation_ratio": sum(covariance) ** 2 / sum(value * value for value in covariance),
        "spectral_entropy": bits / math.log(len(covariance)) if len(covariance) > 1 else math.nan,
        "top_share": covariance[0] / sum(covariance),
        "alpha": alpha,
        "alpha_r2": fit,
    }


def entropy(values: Sequence[float], epsilon: float = 0.0) -> float:
    """Shannon entropy of what is made a distribution by dividing by its sum. [nats]"""
    total = sum(values)
    shares = (value / total + epsilon for value in values)
    return -sum(share * math.log(share) for share in shares if share > 0)


def power_law(values: Sequence[float]) -> Tuple[float, float]:
    """Exponent and R² of falling eigenvalues against their rank; NaN where there are too few."""
    first, last = ALPHA_RANKS
    points = [
        (math.log(rank), math.log(values[rank - 1]), 1.0 / rank)
        for rank in range(first, min(last, len(values)) + 1)
        if values[rank - 1] > 0
    ]
    if len(points) <= FEWEST_ALPHA_RANKS:
        return math.nan, math.nan
    weight = sum(w for _, _, w in points)
    x_mean = sum(w * x for x, _, w in points) / weight
    y_mean = sum(w * y for _, y, w in points) / weight
    covariance = sum(w * (x - x_mean) * (y - y_mean) for x, y, w in points)
    slope = covariance / sum(w * (x - x_mean) ** 2 for x, _, w in points)
    plain_mean = sum(y for _, y, _ in points) / len(points)
    residual = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y, _ in points)
    total = sum((y - plain_mean) ** 2 for _, y, _ in points)
    return -slope, 1 - residual / total if total > 0 else math.nan
