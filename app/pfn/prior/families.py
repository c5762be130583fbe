"""What training gives at a constant rate: the level against effective steps, in units of the level at their end.

The families are those that learning-curve papers fit (Domhan et al., IJCAI 2015; Adriaensen et al., arXiv:2310.20447;
Hestness et al., arXiv:1712.00409), with an offset in front, for no loss is infinite at its first step. Their size is
set by what one sees of a run: its fall from 5 % of the way to the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pfn.prior.draws import Array, Indices, chance, log_normal, log_uniform, pick

FAMILIES = ("power", "mixture", "janoschek", "exponential", "log_power")
SHARES = (0.45, 0.18, 0.12, 0.09, 0.16)
"""Power laws first: they are what losses of large runs follow."""

REFERENCE = 0.05
"""The fall is measured from here on [horizon]: what comes before is transient."""

LOWEST_CEILING, HIGHEST_CEILING = 1.5, 25.0
"""Where a run starts, above its end, over its fall: the loss of a network that has learned nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Bases:
    """Arrays of shape (n,).

    family : index into `FAMILIES`
    fall : from `REFERENCE` to 1 effective step, over the level at 1
    exponent : of the power; of the logarithm; of Janoschek's step
    offset : effective steps that the run is ahead of its first step [horizon]
    speed : of the exponential parts [1 / horizon]
    share : of the power in a mixture
    ceiling : what no level exceeds, above the level at the end [level at the end]
    transient, transient_length : size over the fall, and [horizon], of an early exponential part
    """

    family: Indices
    fall: Array
    exponent: Array
    offset: Array
    speed: Array
    share: Array
    ceiling: Array
    transient: Array
    transient_length: Array

    def levels(self, x: Array) -> Array:
        """At effective steps of shape (n, m), at least 0 and 1 at one effective step. [level at the end]"""
        ends = np.broadcast_to([REFERENCE, 1.0], (len(x), 2))
        high, low = self._shape(ends).T[:, :, None]
        level = 1.0 + self.fall[:, None] * (self._shape(x) - low) / np.maximum(high - low, 1e-12)
        level += (self.fall * self.transient)[:, None] * np.exp(-x / self.transient_length[:, None])
        # Soft: runs leave the loss of an untrained network slowly.
        ceiling = self.ceiling[:, None]
        return np.asarray(np.where(level > 1.0, 1.0 + ceiling * np.tanh((level - 1.0) / ceiling), level))

    def _shape(self, x: Array) -> Array:
        """Falling from its first step on, up to a factor and a constant; shape of `x`."""
        shape = np.empty(x.shape)
        for index, name in enumerate(FAMILIES):
            rows = np.flatnonzero(self.family == index)
            if len(rows):
                moved = x[rows] + self.offset[rows, None]
                shape[rows] = self._of(name, rows, moved)
        return shape

    def _of(self, name: str, rows: Indices, x: Array) -> Array:
        exponent, speed, offset = self.exponent[rows, None], self.speed[rows, None], self.offset[rows, None]
        match name:
            case "power":
                return x**-exponent
            case "mixture":
                share = self.share[rows, None]
                return share * x**-exponent + (1.0 - share) * np.exp(-speed * (x - offset)) / REFERENCE**exponent
            case "janoschek":
                return np.exp(-speed / 4.0 * x ** (0.3 + exponent))
            case "exponential":
                return np.exp(-speed * (x - offset))
            case _:
                return np.log(np.e + x / offset) ** (-0.5 - exponent)


def sample_bases(rng: np.random.Generator, n: int) -> Bases:
    """Exponents from 0.1 to 1.2: language models' lie near 0.3 to 0.6, data scaling's as low as 0.1."""
    # Most runs are seen from their first step; some go on from a checkpoint, and fall as a run that is long under way.
    under_way = chance(rng, 0.12, n)
    # The loss of a language model falls from about 4 to 3 over its last 95 %: a third of its level.
    fall = np.minimum(log_normal(rng, 0.3, 1.0, n), 8.0)
    offset = np.where(under_way, log_uniform(rng, 0.05, 3.0, n), log_uniform(rng, 1e-4, 0.03, n))
    return Bases(
        family=pick(rng, SHARES, n),
        fall=fall,
        exponent=log_uniform(rng, 0.1, 1.2, n),
        offset=offset,
        speed=log_uniform(rng, 0.7, 25.0, n),
        share=rng.random(n),
        ceiling=fall * log_uniform(rng, LOWEST_CEILING, HIGHEST_CEILING, n),
        transient=np.where(chance(rng, 0.35, n), log_uniform(rng, 0.05, 3.0, n), 0.0),
        transient_length=log_uniform(rng, 1e-3, 0.04, n),
    )
