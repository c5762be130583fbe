r"""How invented runs answer to their learning rate: progress in effective steps, and the gain of a fall of the rate.

Effective steps are :math:`x(t) = \int_0^t r^q dt` with :math:`r` the rate over the peak; q = 1 for most runs, 0 for
those that do not care. The gain follows a lag of the fall of a power of the rate,

.. math:: z = \sum_m w_m z_m, \qquad \tau_m \frac{dz_m}{dx'} = f - z_m, \qquad f = 1 - r^p .

With one mode it is the annealing law [1]_ as `app.laws.rate_power` has it. With several, whose rates are the quantiles
of a gamma distribution, the fall takes effect as a power, :math:`1 - (1 + C u)^{-\beta}`: the multi-power law [2]_,
whose exponent of the rate, :math:`\gamma`, is the clock :math:`dx' = r^{1 - \gamma} dt`.

.. [1] H. Tissue et al., "Scaling Law with Learning Rate Annealing," arXiv:2408.11029, 2024.
.. [2] K. Luo et al., "A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules," arXiv:2503.12811,
   2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from app.pfn.prior.draws import Array, Flags, Indices, chance, log_uniform
from app.pfn.prior.schedules import Schedules

N_MODES = 4
SHORTEST_MEMORY, LONGEST_MEMORY = 1e-3, 0.3
"""Of the horizon: from as good as at once to a third of the run."""


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Arrays of shape (n,), except `memories` and `weights`, (n, N_MODES).

    progress_power : q, the power of the rate that moves the run along
    fall_power : p, the power of the rate whose fall the loss answers to
    clock_power : the power of the rate that lets the lag run
    memories : [horizon]; weights : sum to 1
    """

    progress_power: Array
    fall_power: Array
    clock_power: Array
    memories: Array
    weights: Array


def sample_responses(rng: np.random.Generator, n: int, *, indifferent: Flags) -> Responses:
    """`indifferent`, bool of shape (n,): runs that answer to no fall of the rate."""
    # Those do not slow down with the rate either, mostly: else every decay would only freeze them.
    plain = np.where(indifferent, chance(rng, 0.7, n), chance(rng, 0.1, n))
    partly = chance(rng, 0.2, n)
    progress_power = np.where(plain, 0.0, np.where(partly, rng.uniform(0.3, 1.0, n), 1.0))

    memory = log_uniform(rng, SHORTEST_MEMORY, LONGEST_MEMORY, n)
    fading = rng.uniform(0.3, 0.9, n)  # beta: around the half from which its authors start
    by_power = chance(rng, 0.35, n)
    places = (np.arange(N_MODES) + 0.5) / N_MODES
    rates = gammaincinv(fading[:, None], places) / fading[:, None]
    memories = np.where(by_power[:, None], memory[:, None] / np.maximum(rates, 1e-4), memory[:, None])
    weights = np.where(by_power[:, None], 1.0 / N_MODES, np.eye(N_MODES)[0])
    # The lag runs in effective steps: a network that moves slowly forgets slowly. In the multi-power law partly so.
    clock_power = np.where(by_power, rng.uniform(0.0, 1.0, n), np.where(chance(rng, 0.3, n), 0.0, 1.0))
    return Responses(progress_power, rng.uniform(0.5, 1.2, n), clock_power, np.minimum(memories, 1e3), weights)


def effective_steps(schedules: Schedules, positions: Array, power: Array) -> Array:
    """Integral of the rate to `power`, shape (n,), up to each position, shape (n, m). [horizon]"""
    clock = _Clock.of(schedules, power)
    return clock.at(positions, schedules.piece_of(positions))


def gains(schedules: Schedules, positions: Array, responses: Responses) -> Array:
    """How far the lagged fall of the rate has come, z, shape of `positions`, (n, m), within [0, 1]."""
    falls = 1.0 - schedules.rates ** responses.fall_power[:, None]
    falls[schedules.knots < schedules.warmup_end[:, None]] = 0.0  # annealing ignores the warm-up
    clock = _Clock.of(schedules, responses.clock_power)
    piece = schedules.piece_of(positions)
    ramps = _Ramps(
        piece=piece,
        falls=np.take_along_axis(falls, piece, 1),
        rises=np.take_along_axis(np.diff(falls, axis=1), piece, 1),
        elapsed=clock.at(positions, piece) - np.take_along_axis(clock.passed, piece, 1),
        widths=np.maximum(np.take_along_axis(clock.widths, piece, 1), 1e-12),
    )
    total = np.zeros(positions.shape)
    for mode in range(N_MODES):
        rows = np.flatnonzero(responses.weights[:, mode] > 0)
        if len(rows):
            memory = responses.memories[rows, mode][:, None]
            states = _states(falls[rows], clock.widths[rows] / memory)
            total[rows] += responses.weights[rows, mode][:, None] * ramps.lagged(rows, states, memory)
    return total


@dataclass(frozen=True, slots=True, eq=False)
class _Clock:
    """Time on the clock of a power of the rate. [horizon]

    schedules : n of them, with K knots
    speeds, passed : at every knot, shape (n, K)
    widths : of every piece between knots, shape (n, K - 1)
    """

    schedules: Schedules
    speeds: Array
    passed: Array
    widths: Array

    @staticmethod
    def of(schedules: Schedules, power: Array) -> _Clock:
        speeds = schedules.rates ** power[:, None]
        widths = np.diff(schedules.knots, axis=1) * (speeds[:, 1:] + speeds[:, :-1]) / 2
        passed = np.concatenate([np.zeros((len(widths), 1)), np.cumsum(widths, axis=1)], axis=1)
        return _Clock(schedules, speeds, passed, widths)

    def at(self, positions: Array, piece: Indices) -> Array:
        """Time passed at positions, shape (n, m), which lie in these pieces."""
        knots = self.schedules.knots
        begin, end = np.take_along_axis(knots, piece, 1), np.take_along_axis(knots, piece + 1, 1)
        slow, fast = np.take_along_axis(self.speeds, piece, 1), np.take_along_axis(self.speeds, piece + 1, 1)
        elapsed = np.clip(positions - begin, 0.0, end - begin)
        slope = (fast - slow) / np.maximum(end - begin, 1e-12)
        return np.take_along_axis(self.passed, piece, 1) + elapsed * (slow + slope * elapsed / 2)


@dataclass(frozen=True, slots=True, eq=False)
class _Ramps:
    """The fall of the rate around every position, taken linear in the clock between knots; shape (n, m).

    piece : that the position lies in
    falls, rises : at the piece's begin, and over it
    elapsed, widths : clock time since its begin, and of all of it [horizon]
    """

    piece: Indices
    falls: Array
    rises: Array
    elapsed: Array
    widths: Array

    def lagged(self, rows: Indices, states: Array, memory: Array) -> Array:
        """The lag at the positions of some rows, from `states` at their knots: of a ramp it is known in closed form."""
        widths = self.widths[rows]
        elapsed = np.clip(self.elapsed[rows], 0.0, widths)
        forgotten = -np.expm1(-elapsed / memory)
        state = np.take_along_axis(states, self.piece[rows], 1)
        ramp = self.rises[rows] / widths * (elapsed - memory * forgotten)
        return state + forgotten * (self.falls[rows] - state) + ramp


def _states(falls: Array, elapsed: Array) -> Array:
    """The lag at every knot: falls shape (n, K), elapsed, in memories, (n, K - 1)."""
    forgotten = -np.expm1(-elapsed)
    # A jump takes no time, so it is not followed; of a short piece it is half of what passes.
    follows = np.where(elapsed > 1e-7, 1.0 - forgotten / np.maximum(elapsed, 1e-7), elapsed / 2)
    added = np.ascontiguousarray((forgotten * falls[:, :-1] + follows * np.diff(falls, axis=1)).T)
    kept = np.ascontiguousarray(1.0 - forgotten.T)
    states = np.zeros((falls.shape[1], len(falls)))
    for knot in range(len(added)):
        states[knot + 1] = kept[knot] * states[knot] + added[knot]
    return states.T
