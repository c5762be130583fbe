"""Other runs of the same project: which of them are like a run, and what they say of it.

How alike two runs are is judged by their configs and by their loss at the same share of the way: a project may hold
anything, and a perplexity must not speak of a cross-entropy.

Runs of a sweep go side by side, and while they go none of them has ended: so those that are still going speak too, as
far as they have come. Their posteriors are the wider the less they have made, and weigh so much less by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.curves.config_keys import Config
from app.curves.curve import Curve
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting import hindsight
from app.forecasting.observations import observe
from app.laws.inference.posterior import Observations, infer
from app.laws.population import Population, project_prior
from app.laws.prior import Prior

MAX_SIBLINGS = 12
"""The most similar runs are asked; more of them say little more, at ten milliseconds each and round."""

ROUNDS = 4
"""Rounds of expectation and maximisation: what siblings say of D depends on what is believed of the exponent."""

LEAST_BINS = 16
"""A run with fewer bins says nothing that a prior could be learned from."""

PEAK_RATE = "peak rate"

NUMBERS = {
    PEAK_RATE: ("lr", "learning_rate", "peak_lr", "max_lr", "optimizer.lr"),
    "parameters": ("n_params", "num_parameters", "model_size", "params"),
    "width": ("d_model", "n_embd", "hidden_size", "n_embed"),
    "depth": ("n_layer", "n_layers", "num_hidden_layers", "num_layers", "depth"),
    "batch": ("batch_size", "global_batch_size", "train_batch_size", "per_device_train_batch_size"),
}
"""What runs are compared by, and under which keys configs have it."""

WORDS = {
    "optimizer": ("optimizer", "optim", "optimizer.name", "opt"),
    "data": ("dataset", "data", "dataset_name", "task"),
    "model": ("model", "model_name", "model.name", "arch", "architecture"),
}

RATIO_SCALE = 3.0
"""A number three times larger counts for exp(-1/2), as much as another optimizer does."""


LEVEL_SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of a run's steps at which its loss is remembered, to compare another run's with."""

MARKS = (0.2, 0.4, 0.6, 0.8)
"""Shares of its steps at which a run that is still going speaks anew: some of `LEVEL_SHARES` (docs/forecasting.md)."""

LEVEL_BINS = 5
"""The level at a share is the median of so many bins up to it."""

LEVEL_SCALE = 0.5
"""A loss so much higher, in logarithm, counts for exp(-1/2). Between runs of one public family of language models the
logarithm scatters by 0.05 to 0.14 at the same share; a perplexity is 1.5 and more above its cross-entropy."""

UNKNOWN_SIMILARITY = 0.1
"""What a run counts for at most of which nothing but the peak rate can be compared (docs/decisions/0008)."""

LEAST_SIMILARITY = 0.05
"""A run less alike than this says nothing: a dozen of them would say less than one that is alike."""


DIVERGED_SINCE = 0.1
"""A run that stands above where it stood at this share of its steps says nothing of where a healthy one ends."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What of a config runs are compared by: the rows of `NUMBERS` and `WORDS` that it fills."""

    numbers: Mapping[str, float]
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that might speak of another.

    key : its number in storage
    levels : its loss at `LEVEL_SHARES` of its steps, as many as it has reached   [of the loss]
    revision : grows with each finished run; of equals, the newest are asked
    """

    key: int
    run_id: str
    metric: str
    traits: Traits
    levels: tuple[float, ...]
    revision: int

    @property
    def made(self) -> float:
        """The share of its steps that it tells of."""
        return share_told(self.levels)


@dataclass(frozen=True, slots=True, eq=False)
class Sibling:
    """Another run: its curve, its schedule, and how alike it is to the one to forecast, in [0, 1].

    total_steps : its length, of a run that is still going; None of one that has ended   [steps]
    """

    curve: Curve
    schedule: Schedule
    similarity: float = 1.0
    total_steps: int | None = None

    @property
    def horizon(self) -> int:
        """Its length: where it ended or will."""
        return self.curve.cutoff if self.total_steps is None else max(self.total_steps, self.curve.cutoff)


def traits_of(config: Mapping[str, Any], peak_rate: float | None = None) -> Traits:
    """What a config says of a run; `peak_rate`, as logged, where it does not say that."""
    flat = Config(config)
    numbers = {name: flat.number(*keys) for name, keys in NUMBERS.items()}
    words = {name: flat.text(*keys) for name, keys in WORDS.items()}
    numbers[PEAK_RATE] = numbers[PEAK_RATE] or peak_rate
    return Traits(
        {name: value for name, value in numbers.items() if value is not None and value > 0},
        {name: value.lower() for name, value in words.items() if value is not None},
    )


def similarity(own: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How alike two configs are: 1 where nothing that both name differs."""
    return similarity_of_traits(traits_of(own), traits_of(other))


def similarity_of_traits(own: Traits, other: Traits) -> float:
    distance = 0.0
    for name in own.numbers.keys() & other.numbers.keys():
        distance += float(np.log(own.numbers[name] / other.numbers[name]) / np.log(RATIO_SCALE)) ** 2
    for name in own.words.keys() & other.words.keys():
        distance += own.words[name] != other.words[name]
    return float(np.exp(-distance / 2))


def is_unknown(own: Traits, other: Traits) -> bool:
    """Whether there is nothing to compare: a peak rate alone is shared by runs of all kinds."""
    return not ((own.numbers.keys() & other.numbers.keys()) - {PEAK_RATE} or own.words.keys() & other.words.keys())


def levels_of(curve: Curve, total_steps: int | None = None, mark: float = 1.0) -> tuple[float, ...]:
    """Its loss at `LEVEL_SHARES` of a run's steps; of the first bin where a share has none.

    total_steps, mark : of a run that is still going, which tells no more than it has reached   [steps], [1]
    """
    total = curve.cutoff if total_steps is None else total_steps
    return tuple(
        _level(curve, share * total) for share in LEVEL_SHARES if share <= mark and share * total <= curve.cutoff
    )


def share_told(levels: Sequence[float]) -> float:
    """The share of a run's steps that its levels tell of: 1 of one that has finished, else a mark."""
    return LEVEL_SHARES[len(levels) - 1]


def mark_passed(cutoff: int, total_steps: int) -> float | None:
    """The last of `MARKS` that a run has passed."""
    return max((mark for mark in MARKS if mark * total_steps <= cutoff), default=None)


def has_diverged(levels: Sequence[float]) -> bool:
    """Whether a run, by its levels up to where it stands, stands higher than after its first tenth."""
    return levels[-1] > levels[LEVEL_SHARES.index(DIVERGED_SINCE)]


def level_now(curve: Curve) -> float:
    """The loss at the cutoff, judged as `levels_of` does."""
    return _level(curve, curve.cutoff)


def _level(curve: Curve, step: float) -> float:
    n_seen = max(int(np.searchsorted(curve.steps, step, side="right")), 1)
    return float(np.median(curve.values[max(0, n_seen - LEVEL_BINS) : n_seen]))


def similarity_of_levels(level: float, share: float, levels: Sequence[float]) -> float:
    """How alike the loss of a run at a share of its way is to another's at the same share, which that has reached.

    Losses of both signs have no ratio: where neither is above zero nothing is compared, where one is they are unlike.
    """
    other = float(np.interp(share, LEVEL_SHARES[: len(levels)], levels))
    if level <= 0 or other <= 0:
        return float(level <= 0 and other <= 0)
    return float(np.exp(-((np.log(level / other) / LEVEL_SCALE) ** 2) / 2))


def closest(
    own: Traits, curve: Curve, total_steps: int, candidates: Sequence[Candidate]
) -> list[tuple[Candidate, float]]:
    """The runs to ask, the most similar first, each with its similarity (two digits).

    One that is still going ranks by its similarity times the share of its way that it has made. Two digits, and marks,
    so that what hardly changes is not learned from again.
    """
    own_levels = {made: _level_beside(curve, total_steps, made) for made in {each.made for each in candidates}}
    judged = [(each, round(_likeness(own, *own_levels[each.made], each), 2)) for each in candidates]
    ranked = sorted(judged, key=lambda pair: (-pair[1] * pair[0].made, -pair[0].revision))
    return [pair for pair in ranked if pair[1] >= LEAST_SIMILARITY][:MAX_SIBLINGS]


def _level_beside(curve: Curve, total_steps: int, made: float) -> tuple[float, float]:
    """A run's level as far along as both it and one that has made a share of its way have come, and where that is."""
    if curve.cutoff <= made * total_steps:
        return level_now(curve), curve.cutoff / max(total_steps, 1)
    return _level(curve, made * total_steps), made


def _likeness(own: Traits, level: float, share: float, other: Candidate) -> float:
    unknown = UNKNOWN_SIMILARITY if is_unknown(own, other.traits) else 1.0
    return unknown * similarity_of_traits(own, other.traits) * similarity_of_levels(level, share, other.levels)


def learn_prior(siblings: Sequence[Sibling], population: Population) -> Prior:
    """The prior for a run of a project, from the population and the project's other runs.

    Without siblings that say something, the population's own. Pure; some ten milliseconds a sibling and round, and as
    much again for what finished ones say of the band's width: learn it when a run ends or has come a good deal further,
    not with each refit.

    Those that have ended are heard first: one that is still going takes no finished run's place.
    """
    ranked = sorted(siblings, key=lambda each: (each.total_steps is not None, -each.similarity))
    seen: list[tuple[Observations, Sibling]] = []
    for sibling in ranked[:MAX_SIBLINGS]:
        try:
            if len(sibling.curve) >= LEAST_BINS and sibling.similarity > 0:
                seen.append((observe(sibling.curve, sibling.schedule), sibling))
        except CurveTooShort:
            continue
    if not seen:
        return population.prior
    runs = [each for _, each in seen]
    alike = [each.similarity for each in runs]
    prior = population.prior
    for _ in range(ROUNDS):
        current = prior
        moments = [
            infer(observations, each.schedule, each.horizon, current).moments(each.schedule)
            for observations, each in seen
        ]
        prior = project_prior(population, current, moments, alike)
    finished = [place for place, each in enumerate(runs) if each.total_steps is None]
    if finished:
        unheard = []
        for one in finished:
            others = [place for place in range(len(runs)) if place != one]
            heard = [moments[other] for other in others], [alike[other] for other in others]
            unheard.append(project_prior(population, current, *heard))
        prior = replace(prior, past_errors=hindsight.past_errors([runs[one] for one in finished], unheard))
    return replace(
        prior, finished_runs=len(finished), live_runs=len(runs) - len(finished), counted_as=float(sum(alike))
    )
