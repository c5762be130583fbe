"""Parameters of a run as independent standard normal numbers: under the prior, what the generator draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from app.pfn.prior import families, laws
from app.pfn.prior.draws import Array, Flags, Indices
from app.pfn.prior.families import Bases
from app.pfn.prior.noise import LARGEST, SMALLEST
from app.pfn.prior.response import LONGEST_MEMORY, N_MODES, SHORTEST_MEMORY, Responses
from app.pfn.prior.tractable.sampling import TRACTABLE

COORDINATES = (
    "family",
    "fall",
    "exponent",
    "offset",
    "ceiling",
    "answer",
    "gain",
    "progress",
    "memory",
    "fall_power",
    "benefit",
    "size",
    "deviation",
)
"""Standard normal under the prior, but for the last: the logarithm of the noise of a point over the level."""

N_COORDINATES = len(COORDINATES)

FALL = COORDINATES.index("fall")
UNFOLDED = np.isin(COORDINATES, ("fall", "size", "deviation"))
"""What the others tie down, where much is seen."""

TYPICAL_FALL = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What coordinates stand for: the laws but for the gain, which needs the schedule; and the metric; n of them.

    uncut_gain : before `laws.LARGEST_GAIN`
    of_level : bool, whether the gain is drawn as a part of the level, not of the fall
    benefit : by which part of its cost a decay is worth its while, at least
    size : of the metric; log_deviation : of the noise of a point over the level
    """

    bases: Bases
    responses: Responses
    gain: Array
    uncut_gain: Array
    of_level: Flags
    benefit: Array
    size: Array
    log_deviation: Array

    def with_fall(self, normal: Array) -> Drawn:
        """With the fall from another coordinate, and what is told in it."""
        fall = _fall(normal)
        times = fall / self.bases.fall
        bases = replace(self.bases, fall=fall, ceiling=times * self.bases.ceiling)
        gain = np.where(self.of_level, self.gain, np.minimum(times * self.uncut_gain, laws.LARGEST_GAIN))
        return replace(self, bases=bases, gain=gain, uncut_gain=times * self.uncut_gain)


def drawn_from(z: Array) -> Drawn:
    """Parameters at coordinates, shape (n, N_COORDINATES). Their sources stand beside the generator's draws."""
    u = ndtr(z)
    part = dict(zip(COORDINATES, u.T, strict=True))
    normal = dict(zip(COORDINATES, z.T, strict=True))
    n = len(z)
    fall = _fall(normal["fall"])
    answer = part["answer"]
    indifferent = answer < laws.INDIFFERENT_SHARE
    of_level = answer < laws.INDIFFERENT_SHARE + 0.65 * (1.0 - laws.INDIFFERENT_SHARE)
    gain = np.where(of_level, 0.04 * np.exp(0.8 * normal["gain"]), fall * 0.4 * part["gain"])
    gain = np.where(indifferent, 0.0, gain)
    zeros, ones = np.zeros(n), np.ones(n)
    bases = Bases(
        family=_families(part["family"]),
        fall=fall,
        exponent=_log_even(part["exponent"], 0.1, 1.2),
        offset=_either(part["offset"], 0.88, (1e-4, 0.03), (0.05, 3.0)),
        speed=ones,
        share=zeros,
        ceiling=fall * _log_even(part["ceiling"], families.LOWEST_CEILING, families.HIGHEST_CEILING),
        transient=zeros,
        transient_length=ones,
    )
    benefit = _log_even(part["benefit"], laws.SMALLEST_BENEFIT, laws.SMALL_BENEFIT)
    return Drawn(
        bases=bases,
        responses=_responses(part, indifferent),
        gain=np.minimum(gain, laws.LARGEST_GAIN),
        uncut_gain=gain,
        of_level=of_level,
        benefit=benefit,
        size=size_at(normal["size"]),
        log_deviation=normal["deviation"],
    )


def _fall(normal: Array) -> Array:
    return np.minimum(TYPICAL_FALL * np.exp(normal), 8.0)


def size_at(normal: Array) -> Array:
    return np.asarray(2.0 * np.exp(normal))


def _families(part: Array) -> Indices:
    indices = [families.FAMILIES.index(name) for name in TRACTABLE]
    shares = np.cumsum([families.SHARES[index] for index in indices])
    return np.asarray(indices)[np.searchsorted(shares[:-1] / shares[-1], part)]


def _responses(part: dict[str, Array], indifferent: Flags) -> Responses:
    plain = np.where(indifferent, 0.7, 0.1)
    n = len(indifferent)
    # From here on: progress in plain steps, in the integral of a power of the rate, in that of the rate.
    beyond = (part["progress"] - plain) / (1.0 - plain)
    progress_power = np.where(beyond < 0, 0.0, np.where(beyond < 0.2, 0.3 + 0.7 * beyond / 0.2, 1.0))
    memory = _log_even(part["memory"], SHORTEST_MEMORY, LONGEST_MEMORY)
    return Responses(
        progress_power=progress_power,
        fall_power=0.5 + 0.7 * part["fall_power"],
        clock_power=np.ones(n),
        memories=np.repeat(memory[:, None], N_MODES, axis=1),
        weights=np.tile(np.eye(N_MODES)[0], (n, 1)),
    )


def _log_even(part: Array, low: float, high: float) -> Array:
    return np.asarray(low * np.exp(part * np.log(high / low)))


def _either(part: Array, share: float, first: tuple[float, float], second: tuple[float, float]) -> Array:
    """Even in the logarithm within the first bounds, with this share, or the second."""
    return np.where(part < share, _log_even(part / share, *first), _log_even((part - share) / (1 - share), *second))


def log_density_of_deviation(log_deviation: Array, fall: Array, least: float) -> Array:
    """Of the logarithm of the noise of a point, given what the run falls by; minus infinity beyond its bounds.

    Not divided by the share between the bounds: runs outside of them were thrown away whole, which is a reason to think
    less of falls that make it more likely.
    """
    normal = np.exp(-0.5 * ((log_deviation - np.log(0.015)) / 1.1) ** 2) / (1.1 * np.sqrt(2 * np.pi))
    above = log_deviation - np.log(fall)
    even = ((above > np.log(SMALLEST)) & (above < np.log(0.1))) / np.log(0.1 / SMALLEST)
    within = (above > np.log(max(least, SMALLEST))) & (above < np.log(LARGEST))
    with np.errstate(divide="ignore"):
        return np.where(within, np.log(0.55 * normal + 0.45 * even), -np.inf)


def standard_draws(rng: np.random.Generator, n: int) -> Array:
    """Coordinates drawn from the prior, but for the last, which is 0."""
    z = rng.standard_normal((n, N_COORDINATES))
    z[:, -1] = 0.0
    return z
