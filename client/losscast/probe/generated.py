"""How much of what there is a generator makes: modes and spread of its samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Dict

from losscast.probe.arrays import Array, ProbeError
from losscast.probe.spectrum import entropy

MEASURES = ("spread", "relative_spread", "hit_share", "modes_covered", "mode_perplexity", "relative_modes")
OF_MODES = ("hit_share", "modes_covered", "mode_perplexity")

FEWEST_SHARE = 0.1
"""Of an even share: a mode that gets less is not covered, a stray sample does not count."""


def sample_measures(
    matrix: Array,
    modes: Sequence[int] | None = None,
    real: Array = None,
    real_modes: Sequence[int] | None = None,
) -> Dict[str, float]:
    r"""Measures of generated samples, and of the same beside real ones.

    Parameters
    ----------
    matrix : array, shape (n_samples, n_numbers)
        Generated samples, or features of them. Doubles.
    modes : sequence of int, one for each sample, optional
        The mode, class or cluster that a sample belongs to, by a classifier or the nearest centre; negative: none.
    real : array, shape (n_real, n_numbers), optional
        Real samples, or the same features of them.
    real_modes : sequence of int, optional
        As `modes`, of the real samples.

    Returns
    -------
    dict
        ``spread`` : root mean square distance of the samples from their mean, :math:`\sqrt{\mathrm{tr}\,\Sigma}`.
        ``relative_spread`` : that over the real samples' own.
        ``hit_share`` : share of the samples that belong to a mode.
        ``modes_covered`` : modes with at least a tenth of an even share of them.
        ``mode_perplexity`` : exponential of the entropy of their shares; 1 for one mode, n for n even ones.
        ``relative_modes`` : mode_perplexity over the real samples' own.
    """
    measures = {"spread": _spread(matrix)}
    if real is not None:
        reference = _spread(real)
        measures["relative_spread"] = measures["spread"] / reference if reference > 0 else math.nan
    if modes is None:
        return measures
    counts = Counter(mode for mode in modes if mode >= 0)
    hits = sum(counts.values())
    of_real = Counter(mode for mode in real_modes or () if mode >= 0)
    known = len(of_real) if of_real else len(counts)
    measures["hit_share"] = hits / len(modes)
    measures["modes_covered"] = float(sum(count * known >= FEWEST_SHARE * hits for count in counts.values()))
    measures["mode_perplexity"] = math.exp(entropy(list(counts.values()))) if hits else 0.0
    if of_real:
        measures["relative_modes"] = measures["mode_perplexity"] / math.exp(entropy(list(of_real.values())))
    return measures


def _spread(matrix: Array) -> float:
    centred = matrix - matrix.mean(0)
    spread = math.sqrt(float((centred * centred).sum()) / int(matrix.shape[0]))
    if not math.isfinite(spread):
        raise ProbeError("the samples are not finite")
    return spread
