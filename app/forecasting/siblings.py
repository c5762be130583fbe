"""Finished runs of the same project: what they say of the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.curves.config_keys import Config
from app.curves.curve import Curve
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.observations import observe
from app.laws.population import Population, project_prior
from app.laws.posterior import Observations, infer
from app.laws.prior import Prior

MAX_SIBLINGS = 12
"""The most similar finished runs are asked; more of them say little more, at ten milliseconds each and round."""

ROUNDS = 4
"""Rounds of expectation and maximisation: what siblings say of D depends on what is believed of the exponent."""

LEAST_BINS = 16
"""A finished run with fewer bins says nothing that a prior could be learned from."""

NUMBERS = {
    "peak rate": ("lr", "learning_rate", "peak_lr", "max_lr", "optimizer.lr"),
    "parameters": ("n_params", "num_parameters", "model_size", "params"),
    "width": ("d_model", "n_embd", "hidden_size", "n_embed"),
    "depth": ("n_layer", "n_layers", "num_hidden_layers", "num_layers", "depth"),
    "batch": ("batch_size", "global_batch_size", "train_batch_size", "per_device_train_batch_size"),
}
"""What runs are compared by, and under which keys configs have it."""

WORDS = {
    "optimizer": ("optimizer", "optim", "optimizer.name", "opt"),
    "data": ("dataset", "data", "dataset_name", "task"),
}

RATIO_SCALE = 3.0
"""A number three times larger counts for exp(-1/2), as much as another optimizer does."""


@dataclass(frozen=True, slots=True, eq=False)
class Sibling:
    """A run that ended: its whole curve, its schedule, and how alike it is to the one to forecast, in [0, 1]."""

    curve: Curve
    schedule: Schedule
    similarity: float = 1.0


def similarity(own: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How alike two configs are: 1 where nothing that both name differs."""
    ours, theirs = Config(own), Config(other)
    distance = 0.0
    for keys in NUMBERS.values():
        mine, its = ours.number(*keys), theirs.number(*keys)
        if mine is not None and its is not None and mine > 0 and its > 0:
            distance += float(np.log(mine / its) / np.log(RATIO_SCALE)) ** 2
    for keys in WORDS.values():
        named, its_name = ours.text(*keys), theirs.text(*keys)
        if named is not None and its_name is not None and named.lower() != its_name.lower():
            distance += 1.0
    return float(np.exp(-distance / 2))


def learn_prior(siblings: Sequence[Sibling], population: Population) -> Prior:
    """The prior for the next run of a project, from the population and the project's finished runs.

    Without siblings that say something, the population's own. Pure; some ten milliseconds a sibling and round: learn
    it when a run ends, not with each refit.
    """
    seen: list[tuple[Observations, Sibling]] = []
    for sibling in sorted(siblings, key=lambda each: -each.similarity)[:MAX_SIBLINGS]:
        try:
            if len(sibling.curve) >= LEAST_BINS and sibling.similarity > 0:
                seen.append((observe(sibling.curve, sibling.schedule), sibling))
        except CurveTooShort:
            continue
    prior = population.prior
    for _ in range(ROUNDS if seen else 0):
        moments = [
            infer(observations, each.schedule, each.curve.cutoff, prior).moments(each.schedule)
            for observations, each in seen
        ]
        prior = project_prior(population, prior, moments, [each.similarity for _, each in seen])
    return prior
