"""How far off forecasts of accuracies are, on real runs cut short, in points of their bound: a table in Markdown.

Run ``python -m benchmarks.accuracies DIRECTORY...``; each holds CSV or JSONL files of one family of runs. Every metric
of theirs that is an accuracy by its name is hidden from 20, 40, 60 and 80 % of the steps on, and forecast with the
run's own learning rate where it was logged. A forecaster is held to the mean of the last 2 % of the points.

``--mirrored`` asks the network for the accuracy itself as well, instead of for what is missing from its bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.curves.curve import Curve
from app.curves.measure import Measure, measure_of
from app.curves.plan import Plan
from app.curves.roles import ACCURACY_ROLES, assign_roles
from app.errors import CurveTooShort, LosscastError
from app.forecasting.backtest import ENSEMBLE, Contender, contenders
from app.forecasting.forecast import LEVELS, NETWORK, Forecast, mix
from app.forecasting.recorded_run import RecordedRun
from app.forecasting.scores import QuantileForecast
from app.importers.curve_file import points_by_metric
from app.importers.recorded_run_file import read_recorded_run
from app.importers.run_files import find_run_files, read_file

SEEN = (0.2, 0.4, 0.6, 0.8)
COMPARED = (ENSEMBLE, "law", "power", "last", "pfn_blind")
ITSELF = "network, of the accuracy itself"
TITLES = {
    ENSEMBLE: "**the forecast**: network",
    "law": "law",
    "power": "power law",
    "last": "last level",
    "pfn_blind": "network without the rate",
    "half": "network and law, half and half",
}


@dataclass(frozen=True, slots=True)
class Score:
    """Of one forecast; in points, hundredths of the bound, unless said."""

    error: float
    crps: float
    covered: bool
    band: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--mirrored", action="store_true", help="the network on the accuracy itself as well")
    given = parser.parse_args()
    print("| family | forecasts | forecaster | error, median | mean | CRPS | in the 90 % band | its width |")
    print("|---|---|---|---|---|---|---|---|")
    for directory in given.directories:
        for name, scores in _family(directory, mirrored=given.mirrored).items():
            print(f"| {directory.name} | {len(scores)} | {TITLES.get(name, name)} | {_row(scores)} |")


def _family(directory: Path, *, mirrored: bool) -> Mapping[str, list[Score]]:
    found: dict[str, list[Score]] = {}
    for run in _accuracies(directory):
        for seen in SEEN:
            try:
                scores = _scores(run, run.seen(seen), mirrored=mirrored)
            except CurveTooShort:
                continue
            for name, score in scores.items():
                found.setdefault(name, []).append(score)
    return found


def _accuracies(directory: Path) -> Iterator[RecordedRun]:
    for path in find_run_files(directory):
        roles = assign_roles(points_by_metric(list(read_file(path).batches)))
        for metric in (name for name, match in roles.items() if match.role in ACCURACY_ROLES):
            try:
                yield read_recorded_run(path, metric)
            except LosscastError as error:
                print(f"<!-- {path.name}: {error} -->")


def _scores(run: RecordedRun, curve: Curve, *, mirrored: bool) -> dict[str, Score]:
    """By forecaster, in the order of `COMPARED`."""
    measure, plan, actual = measure_of(run.role, curve), run.plan(), run.final_loss()
    known: dict[str, Contender] = contenders(role=run.role)
    said = {name: _final(known[name](curve, plan)) for name in COMPARED}
    said["half"] = (said["law"] + _final(known["pfn"](curve, plan))) / 2
    if mirrored:
        said[ITSELF] = measure.within(_final(_of_itself(curve, plan)))
    return {name: _score(final, actual, measure) for name, final in said.items()}


def _of_itself(curve: Curve, plan: Plan) -> Forecast:
    return mix(curve, plan, ((NETWORK, 1.0),))


def _final(forecast: Forecast) -> np.ndarray:
    return np.array([forecast.final_quantiles[level] for level in LEVELS])


def _score(final: np.ndarray, actual: float, measure: Measure) -> Score:
    points = 100 / (measure.upper or 1.0)
    distribution = QuantileForecast(np.array(LEVELS), np.maximum.accumulate(final))
    return Score(
        error=points * abs(float(final[2]) - actual),
        crps=points * distribution.crps(actual),
        # A mean of single-precision numbers may lie outside of its bound by a rounding.
        covered=bool(final[0] - 1e-6 <= actual <= final[4] + 1e-6),
        band=points * float(final[4] - final[0]),
    )


def _row(scores: list[Score]) -> str:
    errors, covered = [score.error for score in scores], np.mean([score.covered for score in scores])
    return (
        f"{np.median(errors):.2f} | {np.mean(errors):.2f} | {np.mean([score.crps for score in scores]):.2f} | "
        f"{covered:.0%} | {np.median([score.band for score in scores]):.1f}"
    )


if __name__ == "__main__":
    main()
