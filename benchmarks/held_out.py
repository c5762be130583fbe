"""Forecasts of finished runs under priors that never saw their family: what tables and weights are made from.

Each run is forecast from shares of its steps, with a population prior learned from other families and

* that prior alone (``population``);
* that prior and two other finished runs of its own family, drawn by chance (``2 siblings``);
* that prior and the twelve runs of its family most like it by config (``siblings``).

A run is never its own sibling. Runs are read as `losscast backtest` reads them, where their learning rate is known.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import BadInput, CurveTooShort
from app.forecasting.forecast import LEVELS, forecast_curve
from app.forecasting.mixing import mixed_quantiles
from app.forecasting.recorded_run import RecordedRun
from app.forecasting.siblings import Sibling, has_diverged, learn_prior, levels_of, similarity
from app.forecasting.weights import NetworkShare
from app.importers.recorded_run_file import read_recorded_run
from app.importers.run_files import find_run_files
from app.laws.population import Population
from app.laws.prior import Prior

KINDS = ("population", "2 siblings", "siblings")
METRICS = ("val_loss", "train_loss")
SEED = 0
OPTIMIZERS = ("Adam", "Muon", "SOAP", "Shampoo", "llmc")

Quantiles = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HeldOutForecast:
    """One forecast of the final loss, by each forecaster, and what came. Quantiles are those of `LEVELS`.

    kind : one of `KINDS`
    seen : share of the steps                                                      [1]
    finished_runs : how many siblings were heard
    lawful : probability of a lawful run, by the law                               [1]
    stretch : of the ensemble's band, for a curve that the network does not know   [1]
    """

    family: str
    metric: str
    run: str
    kind: str
    seen: float
    finished_runs: int
    actual: float
    lawful: float
    stretch: float
    law: Quantiles
    pfn: Quantiles

    def mixed(self, share: NetworkShare) -> Quantiles:
        """What the product would have said with the network's share learned so."""
        weights = share.weights(self.finished_runs)
        median, width = (
            np.array([each.rest.at(self.lawful), each.at(self.lawful)]) for each in (weights.median, weights.width)
        )
        quantiles = mixed_quantiles(np.array([self.law, self.pfn]), median, width)
        middle = quantiles[LEVELS.index(0.5)]
        return tuple(map(float, middle + self.stretch * (quantiles - middle)))


def runs_directory() -> Path:
    """The folder of families named on the command line, in the environment, or beside the checkout."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_RUNS", "../shared/data"))
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    return directory


def read_runs(folder: Path, metric: str) -> list[RecordedRun]:
    """Every run of a family whose metric can be scored and whose rate is known."""
    runs = []
    for path in find_run_files(folder):
        try:
            run = read_recorded_run(path, metric)
        except BadInput:
            continue
        if run.schedule is not None:
            runs.append(run)
    return runs


def held_out_forecasts(
    family: str, runs: Sequence[RecordedRun], population: Population, shares: Sequence[float]
) -> Iterator[HeldOutForecast]:
    """Forecasts of a family's runs; the population must not have learned from them."""
    rng = np.random.default_rng(SEED)
    curves = {run.name: run.seen(1.0) for run in runs}
    finished = [run for run in runs if not has_diverged(levels_of(curves[run.name]))]
    for run in runs:
        others = [other for other in finished if other.name != run.name]
        two = [others[i] for i in rng.permutation(len(others))[:2]]
        for kind, heard in zip(KINDS, ([], two, others), strict=True):
            own = config_of(family, run.name)
            siblings = [
                Sibling(curves[other.name], other.schedule, similarity(own, config_of(family, other.name)))
                for other in heard
                if other.schedule is not None
            ]
            yield from _forecasts(family, kind, run, learn_prior(siblings, population), shares)


def _forecasts(
    family: str, kind: str, run: RecordedRun, prior: Prior, shares: Sequence[float]
) -> Iterator[HeldOutForecast]:
    for share in shares:
        try:
            forecast = forecast_curve(run.seen(share), run.plan(), prior)
        except CurveTooShort:
            continue
        by_name = {name: tuple(said.final_quantiles.values()) for name, said in forecast.forecasters.items()}
        yield HeldOutForecast(
            family=family,
            metric=run.metric,
            run=run.name,
            kind=kind,
            seen=share,
            finished_runs=prior.finished_runs,
            actual=run.final_loss(),
            lawful=1.0 if forecast.lawful is None else forecast.lawful,
            stretch=forecast.typicality.stretch if forecast.typicality else 1.0,
            law=by_name["law"],
            pfn=by_name["pfn"],
        )


def config_of(family: str, name: str) -> dict[str, Any]:
    """What a run's config would say, read from its name."""
    config: dict[str, Any] = {}
    if rate := re.search(r"_lr([\d.]+)_", name):
        config["lr"] = float(rate.group(1))
    if layers := re.search(r"_L(\d+)_", name):
        config["n_layer"] = int(layers.group(1))
    if size := re.match(r"(\d+)M_", name):
        config["model_size"] = 1e6 * int(size.group(1))
    if family == "modded_nanogpt":
        config["optimizer"] = next(optimizer for optimizer in OPTIMIZERS if optimizer in name)
    return config
