r"""The annealing law: how the loss answers to the learning rate, with its two features evaluated exactly.

The law of Tissue et al. [1]_ reads

.. math:: L(s) = L_0 + A\,S_1(s)^{-\alpha} - C\,S_2(s), \qquad
          S_1(s) = \sum_{i \le s} \eta_i, \quad S_2(s) = \sum_{i \le s} m_i, \quad
          m_i = \lambda m_{i-1} + (\eta_{i-1} - \eta_i).

Its constants have units that no two runs share. Here the rate is divided by its peak and :math:`S_2` multiplied by
:math:`1 - \lambda`:

.. math:: L = L_0 + A\,(x / x_\mathrm{ref})^{-\alpha} - D\,z

===============  ======================================================================  ==============
symbol           meaning                                                                 unit
===============  ======================================================================  ==============
:math:`x`        effective steps, :math:`S_1 / \eta_\mathrm{peak}`                       steps
:math:`z`        how far the rate has fallen, as the network feels it,                   1
                 :math:`(1 - \lambda) S_2 / \eta_\mathrm{peak}`
:math:`\tau`     memory, :math:`1 / (1 - \lambda)`                                       steps
:math:`L_0`      what no amount of training removes                                      of the loss
:math:`A`        what training at the peak rate still has to give at x_ref               of the loss
:math:`D`        what annealing has to give, all in all                                  of the loss
:math:`\alpha`   exponent                                                                1
===============  ======================================================================  ==============

:math:`z` is a first-order lag: :math:`z_i = \lambda z_{i-1} + (1 - \lambda) f_i` with
:math:`f_i = (\eta_w - \eta_i) / \eta_\mathrm{peak}` the part of the peak rate given up since the warm-up's top `w`
(before it :math:`f = z = 0`: annealing ignores the warm-up). A rate that rises again lowers it.

**Another response.** Long decays from a high rate give most of their loss late, more than a response in proportion to
the rate allows, and a network that moves slowly forgets slowly. `lagged_response` therefore takes the fall of a
*power* of the rate, :math:`f_i = (\eta_w^p - \eta_i^p) / \eta_\mathrm{peak}^p`, and lets the lag run in effective steps
instead of steps: :math:`dz/dx = (f - z) / \tau`. On the long decays of public runs it fits with a third of the
residual of the paper's (`docs/forecasting.md`).

The paper's two features are evaluated in closed form between the schedule's knots (on a straight piece :math:`S_1` is
an arithmetic series, and the lag of a ramp is a ramp plus an exponential), so a run of ten million steps costs what a
run of a thousand does.

.. [1] H. Tissue, V. Wang, L. Wang, "Scaling Law with Learning Rate Annealing," arXiv:2408.11029, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule

Array = npt.NDArray[np.float64]

# The memory is 1 / (1 - lambda); lambda = 0 (no memory) is a memory of one step.
SHORTEST_MEMORY_STEPS = 1.0

N_FINE_NODES = 96
"""Pieces into which the response to a power of the rate cuts a schedule, twice: by time, and by the rate's root."""


def effective_steps(schedule: Schedule, steps: npt.ArrayLike) -> Array:
    r"""Forward area of the rate over its peak, :math:`x(s) = \sum_{i=0}^{s} \eta_i / \eta_\mathrm{peak}`.

    Parameters
    ----------
    schedule : Schedule
        Learning rate against step. A schedule that is zero throughout counts as constant.
    steps : array_like, shape (n,), any order
        [steps] Fractional steps are interpolated.

    Returns
    -------
    ndarray, shape (n,)
        [steps] Equal to the sum over whole steps where the knots lie on whole steps.
    """
    steps = np.asarray(steps, dtype=np.float64)
    knots, rates = _relative_knots(schedule)
    areas = np.concatenate([[0.0], np.cumsum(np.diff(knots) * (rates[1:] + rates[:-1]) / 2)])
    areas += rates[0] * knots[0]  # the rate is constant before its first knot
    here = np.interp(steps, knots, rates)
    piece = np.searchsorted(knots, steps, side="right") - 1
    start = np.maximum(piece, 0)
    area = areas[start] + (steps - knots[start]) * (rates[start] + here) / 2
    # A sum over whole steps is the trapezoid plus half of its two end terms (Euler and Maclaurin, exact on lines).
    total: Array = area + (here + float(np.interp(0.0, knots, rates))) / 2
    return total


def annealed_fraction(schedule: Schedule, steps: npt.ArrayLike) -> Array:
    """The part of the peak rate given up since the end of the warm-up, f: the input of the lag. [1]

    Shape (n,). Zero before the warm-up's end; below zero where the rate rises above what it was there.
    """
    steps = np.asarray(steps, dtype=np.float64)
    knots, fractions = _fraction_knots(schedule)
    fraction: Array = np.interp(steps, knots, fractions)
    return fraction


def annealing_response(schedule: Schedule, steps: npt.ArrayLike, memories: npt.ArrayLike) -> Array:
    r"""The lagged annealed fraction :math:`z`, for many memories at once.

    Parameters
    ----------
    schedule : Schedule
        Learning rate against step.
    steps : array_like, shape (n,), any order
        [steps]
    memories : array_like, shape (n_memories,)
        :math:`\tau = 1 / (1 - \lambda) \ge 1`. [steps]

    Returns
    -------
    ndarray, shape (n_memories, n)
        [1] Between -1 and 1; equal to :math:`(1 - \lambda) S_2 / \eta_\mathrm{peak}` on whole steps.

    Notes
    -----
    Costs O(log(n_knots) * n_knots + n) per memory, whatever the number of steps.
    """
    steps = np.asarray(steps, dtype=np.float64)
    memories = np.asarray(memories, dtype=np.float64)[:, None]
    knots, fractions = _fraction_knots(schedule)
    lengths = np.diff(knots)
    # One more piece, flat, for what comes after the last knot.
    slopes = np.concatenate([np.diff(fractions) / lengths, [0.0]])
    # On a ramp f = f_a + g (s - a) the recurrence is solved by f - g (tau - 1), plus what is left of the start.
    lags = slopes * (memories - 1.0)
    decays = _decay(lengths, memories)
    gains = (fractions[1:] - lags[:, :-1]) - decays * (fractions[:-1] - lags[:, :-1])
    states = np.concatenate([np.zeros_like(memories), _linear_recurrence(decays, gains)], axis=1)

    piece = np.searchsorted(knots, steps, side="right") - 1
    started = piece >= 0
    start = np.maximum(piece, 0)
    elapsed = np.where(started, steps - knots[start], 0.0)
    ramp = fractions[start] - lags[:, start]
    response = ramp + slopes[start] * elapsed + _decay(elapsed, memories) * (states[:, start] - ramp)
    return np.where(started, response, 0.0)


def lagged_response(schedule: Schedule, steps: npt.ArrayLike, memories: npt.ArrayLike, powers: npt.ArrayLike) -> Array:
    r"""The fall of powers of the rate, lagged in effective steps, for many powers and memories at once.

    Parameters
    ----------
    schedule : Schedule
        Learning rate against step.
    steps : array_like, shape (n,), any order
        [steps]
    memories : array_like, shape (n_memories,)
        :math:`\tau > 0`. [effective steps]
    powers : array_like, shape (n_powers,)
        :math:`p > 0`. [1]

    Returns
    -------
    ndarray, shape (n_powers, n_memories, n)
        [1] Solution of :math:`dz/dx = (f - z)/\tau`, zero until the end of the warm-up.

    Notes
    -----
    Exact where `f` is linear in `x`; a ramp of the rate is cut into pieces short enough for that: errors are about
    1e-4 on schedules that people use, and below 1e-2 on rates drawn at random. A rate of zero stops the clock: the
    response stays where it is.
    """
    return RateFall.of(schedule, steps).response(memories, powers)


@dataclass(frozen=True, slots=True, eq=False)
class RateFall:
    """What `lagged_response` needs of a schedule whatever the memories: to ask for several grids of them.

    steps : (n,), asked for                                                         [steps]
    nodes, rates : (n_nodes,), from the end of the warm-up on; rates over the peak
    """

    steps: Array
    nodes: Array
    rates: Array

    @staticmethod
    def of(schedule: Schedule, steps: npt.ArrayLike) -> RateFall:
        steps = np.asarray(steps, dtype=np.float64)
        return RateFall(steps, *_fine_nodes(schedule, steps))

    def response(self, memories: npt.ArrayLike, powers: npt.ArrayLike) -> Array:
        """As `lagged_response`, shape (n_powers, n_memories, n)."""
        steps, nodes, rates = self.steps, self.nodes, self.rates
        memories, powers = (np.asarray(each, dtype=np.float64)[:, None] for each in (memories, powers))
        if len(nodes) == 1:  # the rate stays, or still rises at the last step: nothing has been annealed
            return np.zeros((len(powers), len(memories), len(steps)))
        falls = rates[0] ** powers - rates**powers
        passed = np.diff(nodes) * (rates[1:] + rates[:-1]) / 2
        forgotten = -np.expm1(-passed / memories)
        # Where f rises linearly in x, the lag follows it at the mean of what the piece forgets.
        follows = 1.0 - forgotten * memories / np.maximum(passed, 1e-300)
        follows = np.where(passed > 1e-9 * memories, follows, 0.0)
        gains = forgotten * falls[:, None, :-1] + follows * np.diff(falls)[:, None, :]
        states = _linear_recurrence(1.0 - forgotten, gains)
        response = np.zeros((*gains.shape[:2], len(nodes)))
        response[:, :, 1:] = states
        place = np.minimum(np.searchsorted(nodes, steps), len(nodes) - 1)
        return np.where(steps >= nodes[0], response[:, :, place], 0.0)


def _fine_nodes(schedule: Schedule, steps: Array) -> tuple[Array, Array]:
    """From the end of the warm-up on: knots, steps asked for, and enough between; and the rates there over the peak."""
    knots, fractions = _fraction_knots(schedule)
    if not fractions.any():  # the rate stays: one node says that nothing is annealed
        return knots[:1], np.ones(1)
    first, last = knots[0], max(float(np.max(steps, initial=knots[0])), knots[-1])
    # Even in time, and even in how far the rate's root has moved: a power of the rate bends most near zero.
    even = np.linspace(first, last, N_FINE_NODES)
    coarse = np.union1d(knots, even)
    top = float(np.interp(first, *_relative_knots(schedule)))
    moved = np.abs(np.diff(np.sqrt(np.maximum(top - np.interp(coarse, knots, fractions), 0.0))))
    travelled = np.concatenate([[0.0], np.cumsum(moved)])
    finer = np.interp(np.linspace(0.0, travelled[-1], N_FINE_NODES), travelled, coarse)
    nodes = np.unique(np.concatenate([coarse, finer, np.clip(steps, first, last)]))
    return nodes, np.maximum(top - np.interp(nodes, knots, fractions), 0.0)


def _relative_knots(schedule: Schedule) -> tuple[Array, Array]:
    """Knots and rates over the peak."""
    peak = float(np.max(schedule.rates))
    if not peak > 0:
        return schedule.steps, np.ones_like(schedule.rates)
    return schedule.steps, schedule.rates / peak


def _fraction_knots(schedule: Schedule) -> tuple[Array, Array]:
    """Knots of f, from the end of the warm-up on: it starts there at zero."""
    knots, rates = _relative_knots(schedule)
    # The warm-up counts as ended within 1 % of the peak. That last percent is no annealing undone: go on to the top.
    begin = int(np.searchsorted(knots, schedule.warmup_end))
    falls = np.flatnonzero(np.diff(rates[begin:]) <= 0)
    begin = begin + int(falls[0]) if len(falls) else len(knots) - 1
    return knots[begin:], rates[begin] - rates[begin:]


def _decay(elapsed: Array, memories: Array) -> Array:
    """lambda ** elapsed, shape (n_memories, n)."""
    # A memory of exactly one step would take the logarithm of zero; a billionth more forgets as well.
    memories = np.maximum(memories, SHORTEST_MEMORY_STEPS * (1 + 1e-9))
    return np.exp(elapsed * np.log1p(-1.0 / memories))


def _linear_recurrence(decays: Array, gains: Array) -> Array:
    """States of s[k] = decays[k] * s[k-1] + gains[k] with s[-1] = 0, along the last axis; decays may be broadcast.

    Steps of doubling length (Hillis and Steele's scan): log2(n) passes of numpy instead of n turns of Python. Only
    products of factors in [0, 1] occur, so it is as stable as the recurrence itself.
    """
    factors, states = decays.copy(), gains.copy()
    shift = 1
    while shift < states.shape[-1]:
        states[..., shift:] = states[..., shift:] + factors[..., shift:] * states[..., :-shift]
        factors[..., shift:] = factors[..., shift:] * factors[..., :-shift]
        shift *= 2
    return states
