"""How far off forecasts of the final loss are with priors that never saw the family they are reported on.

Run ``python -m benchmarks.leave_one_out [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. For each
family a population prior is learned from all the others; every run is then forecast from a share of its steps with

* that prior alone (``population``);
* that prior and two other finished runs of its own family, drawn by chance (``2 siblings``);
* that prior and the twelve runs of its family most like it by config (``siblings``).

A run is never its own sibling. Printed: median |error| of the final loss [%], its median [%], the share of runs inside
the 90 % and the 50 % band, the median width of the 90 % band [%] and the mean pinball loss over five levels [%].
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import CurveTooShort
from app.forecasting.forecast import mix
from app.forecasting.law import LawForecaster
from app.forecasting.siblings import Sibling, learn_prior, similarity
from app.laws.population import Population
from app.laws.prior import Prior
from benchmarks.forecast_accuracy import FAMILIES, METRICS, SEEN, RecordedRun, read_family
from benchmarks.learn_prior import learn, read_families

SEED = 0
OPTIMIZERS = ("Adam", "Muon", "SOAP", "Shampoo", "llmc")


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_RUNS", "../shared/data"))
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    print(f"{'family':28} {'prior':>11} seen   n  median    bias cover90 cover50   band pinball")
    for family in FAMILIES:
        population = learn(read_families(directory, without=[family]))
        for metric in METRICS:
            runs = list(read_family(directory / family, metric))
            for label, group in _groups(family, runs):
                for kind in ("population", "2 siblings", "siblings"):
                    _print_rows(f"{label} {metric}", kind, group, list(_priors(kind, family, group, runs, population)))


def _priors(
    kind: str, family: str, group: Sequence[RecordedRun], runs: Sequence[RecordedRun], population: Population
) -> Iterator[Prior]:
    """The prior of each run of a group."""
    rng = np.random.default_rng(SEED)
    for run in group:
        others = [other for other in runs if other.name != run.name]
        if kind == "population":
            others = []
        elif kind == "2 siblings":
            others = [others[i] for i in rng.permutation(len(others))[:2]]
        own = config_of(family, run.name)
        siblings = [
            Sibling(other.seen(1.0), other.schedule, similarity(own, config_of(family, other.name))) for other in others
        ]
        yield learn_prior(siblings, population)


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


def _print_rows(label: str, kind: str, runs: Sequence[RecordedRun], priors: Sequence[Prior]) -> None:
    for fraction in SEEN:
        scores = []
        for run, prior in zip(runs, priors, strict=True):
            try:
                forecast = mix(run.seen(fraction), run.plan(), ((LawForecaster(prior=prior), 1.0),))
            except CurveTooShort:
                continue
            scores.append(_score(forecast.final_quantiles, run.final_loss()))
        if scores:
            error, bias, within90, within50, band, pinball = np.array(scores).T
            print(
                f"{label:28} {kind:>11} {fraction:4.0%} {len(scores):3} {np.median(error):7.2f} "
                f"{np.median(bias):+7.2f} {within90.mean():7.0%} {within50.mean():7.0%} {np.median(band):6.2f} "
                f"{pinball.mean():7.2f}"
            )


def _score(quantiles: dict[float, float], actual: float) -> tuple[float, ...]:
    levels, values = np.array(list(quantiles)), np.array(list(quantiles.values()))
    off = actual - values
    pinball = 200 * float(np.maximum(levels * off, (levels - 1) * off).mean()) / abs(actual)
    bias = 100 * (quantiles[0.5] / actual - 1)
    within = [float(quantiles[low] <= actual <= quantiles[high]) for low, high in ((0.05, 0.95), (0.25, 0.75))]
    return abs(bias), bias, *within, 100 * (quantiles[0.95] - quantiles[0.05]) / abs(actual), pinball


def _groups(family: str, runs: list[RecordedRun]) -> list[tuple[str, list[RecordedRun]]]:
    """Families apart where their schedules are: a cosine tells about its decay from the start, a WSD does not."""
    if family != "lr_scheduling":
        return [(family, runs)]
    cosine = [run for run in runs if "cos-" in run.name]
    return [(f"{family} WSD", [run for run in runs if run not in cosine]), (f"{family} cosine", cosine)]


if __name__ == "__main__":
    main()
