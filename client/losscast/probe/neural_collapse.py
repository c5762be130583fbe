"""Neural collapse: what becomes of the features of the last layer, class by class.

The four properties are those of V. Papyan, X. Y. Han and D. L. Donoho, "Prevalence of neural collapse during the
terminal phase of deep learning training," PNAS 117, 2020; for next-token prediction, where classes are many and uneven,
those of R. Wu and V. Papyan, "Linguistic Collapse," NeurIPS 2024. All go towards 0 as a network collapses, unless said.

Classes weigh the same whatever their size: their mean is the mean of the class means. For balanced classes that is the
papers' definition.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Dict, List, Tuple

from losscast.probe.arrays import Array, ProbeError, library, like, squares, to_doubles, without_diagonal, zeros

CLASS_MEASURES = ("nc1", "nc1_cdnv", "nc2_equinorm_means", "nc2_equinorm_w", "nc2_equiangle", "nc3", "nc4")

TOKEN_MEASURES = (
    "nc1_cdnv",
    "gnc2_norm_cv",
    "gnc2_uniformity_mean",
    "gnc2_uniformity_cv",
    "nc2_equiangle",
    "unc3_mean",
    "unc3_spread",
    "nc4",
    "classes",
)

FEWEST_TOKENS = 50
"""Rows of a token below which its mean and variance are noise, as in the paper's follow-up measurements."""

SMALLEST_SPREAD = 1e-20
"""Of the class means' squared distances against their size: below it the classes lie on top of each other."""


@dataclass
class Moments:
    """What neural collapse is computed from.

    present : the classes, as they are labelled, in order
    centred : features less the mean of their class, shape (n_rows, n_units)
    row_classes : position of each row's class in `present`, shape (n_rows,)
    means : class means less the mean of all classes, shape (n_classes, n_units)
    origin : the mean of all classes, shape (n_units,)
    counts : rows of each class, shape (n_classes,)
    """

    present: Sequence[int]
    centred: Array
    row_classes: Array
    means: Array
    origin: Array
    counts: Array


def class_measures(matrix: Array, labels: Sequence[int], weight: Array = None, bias: Array = None) -> Dict[str, float]:
    r"""NC1 to NC4.

    Parameters
    ----------
    matrix : array, shape (n_rows, n_units)
        What the last linear layer is given. Doubles.
    labels : sequence of int, length n_rows
        The class of each row.
    weight, bias : array, shape (n_classes, n_units) and (n_classes,), optional
        The last linear layer; without it what needs it is NaN.

    Returns
    -------
    dict
        ``nc1`` : :math:`\mathrm{tr}(\Sigma_W \Sigma_B^+) / C`.
        ``nc1_cdnv`` : mean over pairs of classes of their mean variance over their squared distance.
        ``nc2_equinorm_means``, ``nc2_equinorm_w`` : coefficient of variation of the lengths of the centred class means,
        and of the rows of the last layer.
        ``nc2_equiangle`` : mean of :math:`|\cos(\mu_c, \mu_{c'}) + 1/(C-1)|`.
        ``nc3`` : :math:`\lVert W/\lVert W\rVert_F - M/\lVert M\rVert_F\rVert_F^2`.
        ``nc4`` : share of the rows where the last layer and the nearest class mean decide differently.
    """
    moments = _moments(matrix, labels, fewest=1)
    measures = {
        "nc1": _within_over_between(moments),
        "nc1_cdnv": _cdnv(moments),
        "nc2_equinorm_means": _variation(_lengths(moments.means).tolist()),
        "nc2_equiangle": _equiangle(moments),
    }
    if weight is None:
        return {**dict.fromkeys(CLASS_MEASURES, math.nan), **measures}
    rows = _rows_of(weight, moments)
    measures["nc2_equinorm_w"] = _variation(_lengths(rows).tolist())
    scaled = rows / math.sqrt(squares(rows)) - moments.means / math.sqrt(squares(moments.means))
    measures["nc3"] = squares(scaled)
    measures["nc4"] = _disagreement(moments, weight, bias)
    return measures


def token_measures(
    matrix: Array, labels: Sequence[int], weight: Array = None, bias: Array = None, *, fewest: int = FEWEST_TOKENS
) -> Dict[str, float]:
    r"""Neural collapse of next-token prediction, over the tokens that have at least `fewest` rows.

    Returns
    -------
    dict
        ``nc1_cdnv``, ``nc2_equiangle`` : as in `class_measures`; the second is the paper's interference against a
        simplex.
        ``gnc2_norm_cv`` : coefficient of variation of the logarithms of the lengths of the centred means.
        ``gnc2_uniformity_mean``, ``gnc2_uniformity_cv`` : of :math:`-\ln\lVert\hat\mu_c - \hat\mu_{c'}\rVert` over
        pairs of means of length 1; the second falls as they spread evenly over the sphere.
        ``unc3_mean``, ``unc3_spread`` : mean and standard deviation of :math:`\cos(w_c, \mu_c)`.
        ``nc4`` : share of the rows where the last layer and the nearest mean decide differently, among these tokens.
        ``classes`` : how many tokens had enough rows.
    """
    moments = _moments(matrix, labels, fewest=fewest)
    uniform = _pairs_of(-0.5 * library(matrix).log(_squared_distances(_directions(moments.means), fill=1.0)))
    measures = {
        "nc1_cdnv": _cdnv(moments),
        "nc2_equiangle": _equiangle(moments),
        "gnc2_norm_cv": _variation(_logarithms(_lengths(moments.means).tolist())),
        "gnc2_uniformity_mean": uniform[0],
        "gnc2_uniformity_cv": uniform[1] / abs(uniform[0]) if uniform[0] else math.nan,
        "classes": float(len(moments.present)),
    }
    if weight is None:
        return {**dict.fromkeys(TOKEN_MEASURES, math.nan), **measures}
    rows = _rows_of(weight, moments)
    cosines = (_directions(rows) * _directions(moments.means)).sum(1).tolist()
    measures["unc3_mean"], measures["unc3_spread"] = _mean(cosines), _deviation(cosines)
    measures["nc4"] = _disagreement(moments, weight, bias)
    return measures


def _moments(matrix: Array, labels: Sequence[int], *, fewest: int) -> Moments:
    counted = Counter(labels)
    present = sorted(label for label, count in counted.items() if count >= fewest and label >= 0)
    if len(present) < 2:
        raise ProbeError(f"it takes two classes with at least {fewest} rows; there are {len(present)}")
    at = {label: position for position, label in enumerate(present)}
    kept = [row for row, label in enumerate(labels) if label in at]
    rows = matrix if len(kept) == len(labels) else matrix[kept]
    row_classes = like([at[labels[row]] for row in kept], matrix, whole=True)
    counts = like([float(counted[label]) for label in present], matrix)
    means = _sums_by_class(rows, row_classes, len(present)) / counts[:, None]
    origin = means.mean(0)
    moments = Moments(present, rows - means[row_classes], row_classes, means - origin, origin, counts)
    if squares(moments.means) <= SMALLEST_SPREAD * max(squares(means), squares(moments.centred)):
        raise ProbeError("the means of all classes are the same: there is nothing to measure against")
    return moments


def _sums_by_class(rows: Array, row_classes: Array, n_classes: int) -> Array:
    xp = library(rows)
    sums = zeros(n_classes, int(rows.shape[1]), rows)
    if hasattr(sums, "index_add_"):
        return sums.index_add_(0, row_classes, rows)
    xp.add.at(sums, row_classes, rows)
    return sums


def _within_over_between(moments: Moments) -> float:
    r"""tr(Σ_W Σ_B⁺) / C, without either matrix.

    With the singular value decomposition :math:`M = U S V^T` of the centred means,
    :math:`\Sigma_B^+ = C V S^{-2} V^T`, so the trace is the mean square length of
    :math:`\sqrt{C} S^{-1} V^T (h - \mu_c)`. Directions that only rounding gives the means are left out: the means of C
    classes span C - 1.
    """
    xp = library(moments.means)
    _, sizes, directions = xp.linalg.svd(moments.means, full_matrices=False)
    n_classes = len(moments.present)
    floor = max(moments.means.shape) * sys.float_info.epsilon * float(sizes[0])
    rank = min(n_classes - 1, sum(size > floor for size in sizes.tolist()))
    scaled = (moments.centred @ directions[:rank].T) / sizes[:rank]
    lengths = (scaled * scaled).sum(1) / moments.counts[moments.row_classes]
    # C from the pseudo-inverse, 1/C from the mean over classes, 1/C of the definition.
    return float(lengths.sum()) / n_classes


def _cdnv(moments: Moments) -> float:
    """Mean of (v_c + v_c') / (2 d²) over pairs, after T. Galanti et al., "On the role of neural collapse," 2022."""
    centred = moments.centred
    variances = _sums_by_class((centred * centred).sum(1)[:, None], moments.row_classes, len(moments.present))[:, 0]
    variances = variances / moments.counts
    means_of_pairs = 0.5 * (variances[:, None] + variances[None, :])
    return _pairs_of(means_of_pairs / _squared_distances(moments.means, fill=math.inf))[0]


def _equiangle(moments: Moments) -> float:
    unit = _directions(moments.means)
    return _pairs_of(abs(unit @ unit.T + 1.0 / (len(moments.present) - 1)))[0]


def _disagreement(moments: Moments, weight: Array, bias: Array) -> float:
    features = moments.centred + moments.means[moments.row_classes]  # less the origin
    rows = _rows_of(weight, moments)
    logits = (features + moments.origin) @ rows.T
    if bias is not None:
        logits = logits + to_doubles(bias).reshape(-1)[list(moments.present)]
    # The nearest mean, without |h|², which is the same for all of them.
    nearness = features @ moments.means.T - 0.5 * (moments.means * moments.means).sum(1)
    return float((logits.argmax(1) != nearness.argmax(1)).sum()) / int(features.shape[0])


def _rows_of(weight: Array, moments: Moments) -> Array:
    rows = to_doubles(weight)
    if len(rows.shape) != 2 or int(rows.shape[1]) != int(moments.means.shape[1]):
        raise ProbeError(
            f"the last layer's shape is {tuple(rows.shape)}; features have {int(moments.means.shape[1])} units"
        )
    if int(rows.shape[0]) <= moments.present[-1]:
        raise ProbeError(f"the last layer has {int(rows.shape[0])} rows; there is a label {moments.present[-1]}")
    return rows[list(moments.present)]


def _squared_distances(means: Array, *, fill: float) -> Array:
    """Between all pairs; the diagonal is `fill`."""
    sizes = (means * means).sum(1)
    squared = sizes[:, None] + sizes[None, :] - 2.0 * (means @ means.T)
    # Differences of large numbers: two classes in one place come out as a little less than nothing.
    floor = sys.float_info.min
    return without_diagonal(library(means).where(squared > floor, squared, floor), fill)


def _pairs_of(grid: Array) -> Tuple[float, float]:
    """Mean and standard deviation of what lies off the diagonal."""
    n = int(grid.shape[0])
    pairs = n * (n - 1)
    mean = float(grid.sum() - grid.diagonal().sum()) / pairs
    deviations = (grid - mean) ** 2
    return mean, math.sqrt(max(0.0, float(deviations.sum() - deviations.diagonal().sum()) / pairs))


def _lengths(rows: Array) -> Array:
    return library(rows).sqrt((rows * rows).sum(1))


def _directions(rows: Array) -> Array:
    """Rows of length 1; NaN for what has no direction."""
    lengths = _lengths(rows)
    return rows / library(rows).where(lengths > 0, lengths, math.nan)[:, None]


def _logarithms(values: Sequence[float]) -> List[float]:
    return [math.log(value) if value > 0 else -math.inf for value in values]


def _variation(values: Sequence[float]) -> float:
    """Standard deviation over the size of the mean."""
    mean = _mean(values)
    return _deviation(values) / abs(mean) if mean else math.nan


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
