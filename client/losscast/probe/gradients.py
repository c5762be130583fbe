"""How much of a gradient is signal: the noise scale, the critical batch size, the signal-to-noise ratio.

After S. McCandlish et al., "An Empirical Model of Large-Batch Training," arXiv:1812.06162, appendix A.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Dict, List, Tuple

from losscast.notices import Notices
from losscast.probe.arrays import Array, ProbeError, squares, to_doubles
from losscast.probe.parameters import Parameters, arrays_of

MEASURES = ("noise_scale", "signal", "noise", "snr")

MEMORY = 0.95
"""Weight of the past at each observation: about twenty observations are averaged."""


class GradientNoise:
    r"""The noise scale :math:`B = \mathrm{tr}(\Sigma) / |G|^2` from gradients at two batch sizes.

    One pair of norms gives an unbiased estimate of :math:`|G|^2` and of :math:`\mathrm{tr}(\Sigma)`, but a useless one
    of their ratio: both are averaged over observations first, and only then divided.

    In a job with gradient accumulation or data parallelism both norms are there for nothing: the mean squared norm of
    the micro-batches' gradients, and the squared norm of the gradient that is their mean.

    ::

        noise = probe.GradientNoise()
        ...
        run.log(noise.observe(small=micro_norms, big=norm, small_batch=32, big_batch=512), step=step)

    Parameters
    ----------
    memory : float
        Weight of the past, from 0 (each observation by itself) to below 1.
    name : str
        What the metrics' names begin with.
    strict : bool
        Raise `ProbeError` instead of warning once and answering NaN.
    """

    def __init__(self, *, memory: float = MEMORY, name: str = "gradient", strict: bool = False) -> None:
        self._memory = min(max(float(memory), 0.0), 0.9999)
        self._name = name
        self._strict = strict
        self._notices = Notices()
        self._signal = self._noise = self._weight = 0.0

    def observe(
        self, *, small: float | Sequence[float], big: float, small_batch: int, big_batch: int
    ) -> Dict[str, float]:
        """Take in the gradient norms of one step.

        Parameters
        ----------
        small : float or sequence of float
            Norms of gradients over `small_batch` samples each; their squares are averaged.
        big : float
            Norm of the gradient over `big_batch` samples, before clipping.

        Returns
        -------
        dict
            ``noise_scale`` : B [samples]; the critical batch size in the sense of the paper: at this size a step makes
            half the progress of one with the exact gradient. Infinite while no signal can be told from the noise.
            ``signal``, ``noise`` : the averages of |G|² and tr(Σ).
            ``snr`` : |G|² over the noise that a gradient of `big_batch` samples has.
        """
        try:
            return self._observe(small, big, small_batch, big_batch)
        except Exception as error:
            return self._failed(error)

    def observe_gradients(self, gradients: Sequence[Parameters], *, batch: int) -> Dict[str, float]:
        """Take in the gradients themselves, of micro-batches of `batch` samples each; at least two."""
        try:
            return self._observe(*micro_batch_norms(gradients), batch, batch * len(gradients))
        except Exception as error:
            return self._failed(error)

    def _observe(
        self, small: float | Sequence[float], big: float, small_batch: int, big_batch: int
    ) -> Dict[str, float]:
        signal, noise = signal_and_noise(_mean_square(small), float(big) ** 2, small_batch, big_batch)
        self._signal = self._memory * self._signal + (1 - self._memory) * signal
        self._noise = self._memory * self._noise + (1 - self._memory) * noise
        self._weight = self._memory * self._weight + (1 - self._memory)
        # Over the weights so far: a young average is not pulled towards zero.
        signal, noise = self._signal / self._weight, self._noise / self._weight
        return {
            f"{self._name}/noise_scale": noise / signal if signal > 0 else math.inf,
            f"{self._name}/signal": signal,
            f"{self._name}/noise": noise,
            f"{self._name}/snr": signal * big_batch / noise if noise > 0 else math.inf,
        }

    def _failed(self, error: Exception) -> Dict[str, float]:
        if self._strict:
            raise error if isinstance(error, ProbeError) else ProbeError(str(error)) from error
        self._notices.once("noise", "no gradient noise: %s", error)
        return {f"{self._name}/{measure}": math.nan for measure in MEASURES}


def signal_and_noise(small_square: float, big_square: float, small_batch: int, big_batch: int) -> Tuple[float, float]:
    r"""Unbiased :math:`|G|^2` and :math:`\mathrm{tr}(\Sigma)` from the mean squared norms at two batch sizes.

    :math:`E|g_B|^2 = |G|^2 + \mathrm{tr}(\Sigma)/B`, solved for both. Either may come out negative: that is noise.
    """
    if not 0 < small_batch < big_batch:
        raise ProbeError(f"two batch sizes are needed, a small and a big one; they are {small_batch} and {big_batch}")
    if not (math.isfinite(small_square) and math.isfinite(big_square)):
        raise ProbeError("a gradient norm is not finite")
    signal = (big_batch * big_square - small_batch * small_square) / (big_batch - small_batch)
    noise = (small_square - big_square) / (1 / small_batch - 1 / big_batch)
    return signal, noise


def micro_batch_norms(gradients: Sequence[Parameters]) -> Tuple[List[float], float]:
    """The norm of each micro-batch's gradient, and that of their mean."""
    if len(gradients) < 2:
        raise ProbeError("it takes the gradients of two micro-batches")
    sums: List[Array] = []
    norms = []
    for gradient in gradients:
        parts = [to_doubles(part) for part in arrays_of(gradient)]
        norms.append(math.sqrt(sum(squares(part) for part in parts)))
        sums = parts if not sums else list(map(operator.add, sums, parts))
    return norms, math.sqrt(sum(squares(total) for total in sums)) / len(gradients)


def _mean_square(norms: Any) -> float:
    numbers = norms.tolist() if hasattr(norms, "tolist") else norms
    values = [float(norm) for norm in numbers] if isinstance(numbers, Iterable) else [float(numbers)]
    return sum(value**2 for value in values) / len(values)
