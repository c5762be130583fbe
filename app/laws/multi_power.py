r"""The multi-power law: every fall of the learning rate brings its own power law of loss drop.

Luo et al. [1]_:

.. math:: L(t) = L_0 + A\,(S_1(t) + S_W)^{-\alpha} - B \sum_{k \le t} (\eta_{k-1} - \eta_k)\,
          G\!\left(\eta_k^{-\gamma} S_k(t)\right), \qquad G(u) = 1 - (1 + C u)^{-\beta}, \quad
          S_k(t) = \sum_{i=k}^{t} \eta_i

==========================  =================================================================  ===========
symbol                      meaning                                                            unit
==========================  =================================================================  ===========
:math:`S_1 + S_W`           sum of the rate so far, warm-up included                           rate, steps
:math:`L_0`                 what no amount of training removes                                 of the loss
:math:`A`, :math:`\alpha`   size and exponent of what training gives at a constant rate        of the loss, 1
:math:`B`                   what a fall of the whole rate gives in the end                     of the loss
:math:`C`                   how fast a fall takes effect                                       1 / (rate, steps)
:math:`\beta`               how slowly it fades out: the exponent of the rest                  1
:math:`\gamma`              how much slower at a lower rate; 1: counted in steps, 0: in rate   1
==========================  =================================================================  ===========

Rates are in units of the highest, and sums of rates in units of the largest, of all runs that are fitted together;
:math:`\eta^{-\gamma}` is then 1 at the peak. The sum begins at the top of the warm-up, and is
evaluated in pieces of the schedule over which the rate changes little, at each piece's middle: the cost does not grow
with the number of steps. In their code the sum begins at step 0, where the rate is zero: then the warm-up is a rise of
the whole rate, :math:`L_0` is lower by about :math:`B`, and a run under a lower peak is the lower for it
(`MultiPowerLaw.from_zero`).

.. [1] K. Luo et al., "A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules," arXiv:2503.12811,
   2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.laws.annealing import annealed_fraction
from app.laws.power import PowerBasis
from app.laws.separable import Shape, Units

Array = npt.NDArray[np.float64]

PIECES = 96
"""Pieces that a fall of the whole rate is cut into. Twice as many move the prediction by less than 1e-4 of the loss."""

LOWEST_RATE = 1e-6
"""A rate of zero, whose power is infinite, is taken as this part of the highest: nothing moves at it either way."""


@dataclass(frozen=True, slots=True)
class MultiPowerLaw:
    """L0 + A * x^-exponent - B * loss drop.

    from_zero : whether the rate's rise from zero counts, as in the authors' code, and not from the warm-up's top on, as
        in their formula. One run cannot tell; runs of several peak rates can.
    """

    name: str = "multi_power"
    coefficients: tuple[str, ...] = ("irreducible_loss", "reducible_loss", "annealing_gain")
    shapes: tuple[Shape, ...] = (
        Shape("exponent", 0.02, 4.0, (0.2, 0.4, 0.8)),
        Shape("speed", 1.0, 1e5, (10.0, 100.0, 1000.0, 10000.0)),
        # Left free, these two follow what the law misses in the runs at hand. The authors' fits of three model sizes
        # end at 0.58 to 0.60 and 0.64 to 0.66, from a start at 0.5.
        Shape("drop_exponent", 0.5, 0.7, (0.6,)),
        Shape("rate_exponent", 0.5, 0.7, (0.6,)),
    )
    from_zero: bool = False

    def on(self, schedule: Schedule, steps: npt.ArrayLike, units: Units) -> MultiPowerBasis:
        steps = np.asarray(steps, dtype=np.float64)
        starts, ends, drops = _pieces(schedule, from_zero=self.from_zero)
        passed = np.clip((steps[:, None] - starts) / (ends - starts), 0.0, 1.0)
        # A jump takes effect at the rate after it; on a ramp the middle of what has passed stands for it.
        ramp = ends - starts > 1.0
        centres = np.where(ramp, starts + passed * (ends - starts) / 2, ends)
        rates = np.maximum(schedule.rate_at(centres) / units.rate, LOWEST_RATE)
        at_centre = units.effective(schedule, centres.ravel()).reshape(centres.shape)
        travelled = units.effective(schedule, steps)[:, None] - at_centre + rates / units.steps
        return MultiPowerBasis(
            power=PowerBasis(units.effective(schedule, steps)),
            drops=passed * drops * units.relative_peak(schedule),
            travelled=np.maximum(travelled, 0.0) * (passed > 0),
            log_rates=np.log(rates),
        )


@dataclass(frozen=True, slots=True, eq=False)
class MultiPowerBasis:
    """Features 1, x^-exponent and minus the loss drop; arrays of shape (n_steps, n_pieces).

    drops : how far the rate has fallen over each piece by each step (negative where it rose)   [highest rate]
    travelled : sum of the rate since                                                           [largest sum]
    log_rates : log of the rate there                                                           [highest rate]
    """

    power: PowerBasis
    drops: Array
    travelled: Array
    log_rates: Array

    def columns(self, shapes: Array) -> Array:
        _, speed, fading, slowing = shapes
        effects = -np.expm1(-fading * np.log1p(speed * np.exp(-slowing * self.log_rates) * self.travelled))
        dropped = (self.drops * effects).sum(axis=1)
        return np.concatenate([self.power.columns(shapes), -dropped[:, None]], axis=1)

    def slopes(self, shapes: Array) -> Array:
        _, speed, fading, slowing = shapes
        reached = speed * np.exp(-slowing * self.log_rates) * self.travelled
        logs = np.log1p(reached)
        left = self.drops * fading * np.exp(-fading * logs)
        by_reached = left * reached / (1 + reached)
        slopes = np.zeros((4, len(self.drops), 3))
        slopes[0, :, :2] = self.power.slopes(shapes)[0]
        slopes[1, :, 2] = -by_reached.sum(axis=1)
        slopes[2, :, 2] = -(left * logs).sum(axis=1)
        slopes[3, :, 2] = (by_reached * slowing * self.log_rates).sum(axis=1)
        return slopes


def _pieces(schedule: Schedule, *, from_zero: bool) -> tuple[Array, Array, Array]:
    """Starts and ends [steps] of pieces over which the rate moves, and how far it falls there over the peak."""
    knots, fallen = _fallen_from_zero(schedule) if from_zero else _fallen_from_top(schedule)
    starts, ends, drops = [], [], []
    for first, last, fall in zip(knots[:-1], knots[1:], np.diff(fallen), strict=True):
        if fall == 0:
            continue
        n = max(1, min(int(np.ceil(abs(fall) * PIECES)), int(last - first)))
        cuts = np.linspace(first, last, n + 1)
        starts.append(cuts[:-1])
        ends.append(cuts[1:])
        drops.append(np.full(n, fall / n))
    if not drops:
        return np.empty(0), np.empty(0), np.empty(0)
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(drops)


def _fallen_from_top(schedule: Schedule) -> tuple[Array, Array]:
    """Knots, and by how much of the peak the rate is lower there than at the top of its warm-up."""
    return schedule.steps, annealed_fraction(schedule, schedule.steps)


def _fallen_from_zero(schedule: Schedule) -> tuple[Array, Array]:
    """Knots, and by how much of the peak the rate is lower there than zero: a start without warm-up is a jump."""
    if schedule.peak <= 0:
        return np.empty(0), np.empty(0)
    knots = np.append(schedule.steps[0] - 1, schedule.steps)
    return knots, -np.append(0.0, schedule.rates) / schedule.peak
