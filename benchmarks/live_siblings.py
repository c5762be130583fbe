"""What runs that go side by side teach each other before any of them has ended.

Run ``python -m benchmarks.live_siblings [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. All runs of
a group (`losscast backtest --verdicts` groups alike) have made the same share of their own steps; then, as where runs
are started one after the other, all but the one to forecast have made more. Each is forecast with a population prior
that was learned from other families,

* alone;
* having heard the others as far as they have come (`app.forecasting.siblings.learn_prior`);
* as if those others had ended: what it would be worth to let them narrow the band as finished runs do.

How alike two runs are is read from their names where these say something (`benchmarks.held_out.config_of`), and from
their losses at this share.

Printed as Markdown, for each family and share: the median |error| of the final loss [%]; the mean over groups of the
deviation of the errors inside a group [%], which is what decides who will be best; in brackets the share of runs inside
the 90 % band [%]; and the CRPS over that of the runs alone, a geometric mean over groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.cli.backtest_verdicts import GROUPS
from app.curves.curve import Curve
from app.errors import CurveTooShort
from app.forecasting.forecast import forecast_curve
from app.forecasting.recorded_run import RecordedRun
from app.forecasting.scores import QuantileForecast, ValueScore, score_value
from app.forecasting.siblings import (
    LEAST_BINS,
    LEAST_SIMILARITY,
    LEVEL_SHARES,
    Sibling,
    learn_prior,
    level_now,
    similarity,
    similarity_of_levels,
)
from app.laws.population import Population
from app.laws.prior import Prior
from benchmarks.forecast_accuracy import FAMILIES, SEEN
from benchmarks.held_out import config_of, read_runs, runs_directory
from benchmarks.learn_prior import learn, read_families
from benchmarks.usage import tell_if_asked

KINDS = ("alone", "heard", "heard as if ended")
METRIC = "val_loss"

SHARES = (*((seen, seen) for seen in SEEN), (0.2, 0.5), (0.2, 0.8), (0.4, 0.8))
"""Of a run to forecast and of its siblings, what they have made of their steps."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How a run's final loss was forecast, by kind."""

    family: str
    group: str
    shares: tuple[float, float]
    scores: Mapping[str, ValueScore]


def main() -> None:
    tell_if_asked(__doc__)
    directory = runs_directory()
    print(f"| family | seen | runs | {' | '.join(KINDS)} | CRPS over alone: {' | '.join(KINDS[1:])} |")
    print("|---|---|---|" + "---|" * (2 * len(KINDS) - 1))
    for family in FAMILIES:
        population = learn(read_families(directory, without=[family]))
        scored = [
            one
            for name, runs in groups_of(directory / family, family).items()
            for shares in SHARES
            for one in _scored(family, name, runs, population, shares)
        ]
        for shares in SHARES:
            _print_row(family, shares, [one for one in scored if one.shares == shares])


def groups_of(folder: Path, family: str) -> dict[str, list[RecordedRun]]:
    """Runs of a family that are siblings, as the verdicts' backtest groups them."""
    rule = dict(GROUPS).get(family)
    groups: dict[str, list[RecordedRun]] = {}
    for run in read_runs(folder, METRIC):
        matched = re.search(rule, run.name) if rule is not None else None
        if rule is None or matched is not None:
            name = " ".join(part for part in matched.groups() if part) if matched is not None else family
            groups.setdefault(name, []).append(run)
    return {name: runs for name, runs in groups.items() if len(runs) > 1}


def _scored(
    family: str, group: str, runs: Sequence[RecordedRun], population: Population, shares: tuple[float, float]
) -> Iterator[Scored]:
    curves, others = ({run.name: run.seen(share) for run in runs} for share in shares)
    for run in runs:
        alike = _similarities(family, run, runs, curves)
        siblings = [
            Sibling(others[other.name], other.schedule, alike[other.name], other.total_steps)
            for other in runs
            if other.name in alike and other.schedule is not None and len(others[other.name]) >= LEAST_BINS
        ]
        heard = learn_prior(siblings, population)
        as_if_ended = replace(heard, finished_runs=heard.live_runs, live_runs=0)
        try:
            scores = {
                kind: _score(run, curves[run.name], prior)
                for kind, prior in zip(KINDS, (population.prior, heard, as_if_ended), strict=True)
            }
        except CurveTooShort:
            continue
        yield Scored(family, group, shares, scores)


def _similarities(
    family: str, run: RecordedRun, runs: Sequence[RecordedRun], curves: Mapping[str, Curve]
) -> dict[str, float]:
    """How alike each of the others is that may be heard, where all have come as far."""
    similarities = {}
    for other in runs:
        if other.name == run.name or other.schedule is None:
            continue
        alike = similarity(config_of(family, run.name), config_of(family, other.name))
        levels = [level_now(curves[each.name]) for each in (run, other)]
        alike *= similarity_of_levels(levels[0], 1.0, [levels[1]] * len(LEVEL_SHARES))
        if alike >= LEAST_SIMILARITY:
            similarities[other.name] = alike
    return similarities


def _score(run: RecordedRun, curve: Curve, prior: Prior) -> ValueScore:
    forecast = forecast_curve(curve, run.plan(), prior)
    return score_value(QuantileForecast.from_levels(forecast.final_quantiles), run.final_loss())


def _print_row(family: str, shares: tuple[float, float], scored: Sequence[Scored]) -> None:
    if not scored:
        return
    by_group: dict[str, list[Scored]] = {}
    for one in scored:
        by_group.setdefault(one.group, []).append(one)
    cells = []
    for kind in KINDS:
        errors = [100 * abs(one.scores[kind].error) for one in scored]
        inside = 100 * np.mean([one.scores[kind].cover90 for one in scored])
        scatter = np.mean(
            [100 * np.std([one.scores[kind].error for one in group]) for group in by_group.values() if len(group) > 1]
        )
        cells.append(f"{np.median(errors):.2f}, {scatter:.2f} ({inside:.0f})")
    ratios = [f"{np.exp(np.mean([_log_ratio(group, kind) for group in by_group.values()])):.2f}" for kind in KINDS[1:]]
    seen = f"{shares[0]:.0%}" if shares[0] == shares[1] else f"{shares[0]:.0%}, others {shares[1]:.0%}"
    print(f"| {family} | {seen} | {len(scored)} | {' | '.join(cells)} | {' | '.join(ratios)} |", flush=True)


def _log_ratio(group: Sequence[Scored], kind: str) -> float:
    means = [np.mean([one.scores[each].crps_rel for one in group]) for each in (kind, "alone")]
    return float(np.log(means[0] / means[1]))


if __name__ == "__main__":
    main()
