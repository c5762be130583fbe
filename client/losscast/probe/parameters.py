"""How large the weights are, how far they have come, and how large a step is for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Dict, List

from losscast.probe.arrays import Array, ProbeError, library, squares, to_doubles

MEASURES = ("norm", "distance", "relative_distance", "cosine_to_start", "effective_rate")

Parameters = Any
"""A torch module, its `parameters()`, a mapping from names to arrays, or arrays."""


def snapshot(parameters: Parameters) -> List[Array]:
    """A copy of the weights as they are, in their own precision and place, to measure the way from.

    It takes as much memory as the weights. For a model that fills its device, hand in
    ``[one.detach().cpu() for one in model.parameters()]`` instead, and the same to `weights`.
    """
    arrays = arrays_of(parameters)
    return [one.detach().clone() if hasattr(one, "detach") else library(one).array(one) for one in arrays]


def weight_measures(
    parameters: Parameters, *, initial: Parameters = None, rate: float | None = None
) -> Dict[str, float]:
    r"""Norms over all parameters together; hand in a layer's to have that layer's.

    Parameters
    ----------
    parameters
        A torch module, `parameters()`, a mapping from names to arrays, or arrays.
    initial : the same, optional
        The weights as they were, from `snapshot`; without it what needs it is NaN.
    rate : float, optional
        Learning rate now.

    Returns
    -------
    dict
        ``norm`` : :math:`\lVert w \rVert`.
        ``distance``, ``relative_distance`` : :math:`\lVert w - w_0 \rVert`, and the same over
        :math:`\lVert w_0 \rVert`: small throughout for a network that stays lazy.
        ``cosine_to_start`` : :math:`\cos(w, w_0)`.
        ``effective_rate`` : :math:`\eta / \lVert w \rVert^2`, the rate that counts for weights followed by a
        normalisation (Z. Li and S. Arora, ICLR 2020).
    """
    now = arrays_of(parameters)
    if not now:
        raise ProbeError("there are no parameters")
    size = _finite(sum(squares(to_doubles(one)) for one in now))
    measures = dict.fromkeys(MEASURES, math.nan)
    measures["norm"] = math.sqrt(size)
    if rate is not None:
        measures["effective_rate"] = float(rate) / size if size > 0 else math.inf
    if initial is not None:
        measures.update(_way(now, arrays_of(initial), size))
    return measures


def arrays_of(parameters: Parameters) -> List[Array]:
    """The arrays in whatever holds them; buffers of a module are none of its parameters."""
    if hasattr(parameters, "parameters") and callable(parameters.parameters):
        return list(parameters.parameters())
    if isinstance(parameters, Mapping):
        return list(parameters.values())
    if hasattr(parameters, "shape") or not isinstance(parameters, Iterable):
        return [parameters]
    return list(parameters)


def _way(now: List[Array], start: List[Array], size: float) -> Dict[str, float]:
    if [tuple(one.shape) for one in now] != [tuple(one.shape) for one in start]:
        raise ProbeError("the weights at the start are not those of the same network")
    start_size = distance = product = 0.0
    for at, one in enumerate(now):
        today, then = to_doubles(one), to_doubles(start[at])
        if hasattr(then, "to") and hasattr(today, "device"):
            then = then.to(today.device)
        start_size += squares(then)
        distance += squares(today - then)
        product += float((today * then).sum())
    both = math.sqrt(size * start_size)
    return {
        "distance": math.sqrt(_finite(distance)),
        "relative_distance": math.sqrt(distance / start_size) if start_size > 0 else math.inf,
        "cosine_to_start": product / both if both > 0 else math.nan,
    }


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ProbeError("the weights are not finite")
    return value
