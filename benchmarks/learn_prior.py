"""Learn the population prior from finished public runs, and write it where the package reads it.

Run ``python -m benchmarks.learn_prior [DIRECTORY] [--without FAMILY] [--output FILE]``; the directory holds one folder
of runs a family, as for `benchmarks.forecast_accuracy`. ``--without`` leaves a family out: what is reported of a family
is reported with a prior learned without it. At most `MAX_RUNS` runs a family, evenly spaced by name; validation losses.
``--check`` writes nothing and fails where the file that is there is not what this code makes of these runs: whoever
changes the inference learns the prior again, from a clean checkout, since the file names the commit that made it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.curves.schedule import Schedule
from app.forecasting.observations import observe
from app.laws.inference.posterior import Observations, infer
from app.laws.population import Population, population_prior, within_families
from app.laws.prior import Prior, prior_to_dict
from app.laws.shipped import FILE
from benchmarks.forecast_accuracy import FAMILIES, RecordedRun, read_family
from benchmarks.provenance import source_commit

METRIC = "val_loss"
MAX_RUNS = 12
ROUNDS = 12
LEAST_BINS = 12
SAME = 1e-3
"""Relative difference that another machine's arithmetic may make in what is learned."""
OUTPUT = Path(__file__).parents[1] / "app" / "laws" / FILE

Seen = tuple[Observations, Schedule, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", nargs="?", default=os.environ.get("LOSSCAST_RUNS", "../shared/data"))
    parser.add_argument("--without", action="append", default=[], choices=FAMILIES)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    given = parser.parse_args()
    runs = read_families(Path(given.directory), without=given.without)
    population = learn(runs)
    content = {
        "made_by": " ".join(["python -m benchmarks.learn_prior", *(f"--without {name}" for name in given.without)]),
        "made_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": source_commit(),
        "metric": METRIC,
        "families": {name: len(each) for name, each in runs.items()},
        "n_runs": sum(len(each) for each in runs.values()),
        "runs": {name: [run.name for run in each] for name, each in runs.items()},
        "sha256_of_names_and_finals": _hash(runs),
        "prior": prior_to_dict(population.prior),
        "within": population.within,
    }
    if given.check:
        check(content, json.loads(given.output.read_text(encoding="utf-8")), given.output)
    else:
        given.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{given.output}: {content['families']}")


def read_families(directory: Path, without: Collection[str] = ()) -> dict[str, list[RecordedRun]]:
    """The runs that a prior is learned from."""
    families = {}
    for name in FAMILIES:
        if name not in without:
            runs = [run for run in read_family(directory / name, METRIC) if len(run.seen(1.0)) >= LEAST_BINS]
            families[name] = runs[:: -(-len(runs) // MAX_RUNS) or 1]
    return families


def learn(families: Mapping[str, Sequence[RecordedRun]]) -> Population:
    """Expectation and maximisation from the weak prior on."""
    seen: dict[str, list[Seen]] = {
        name: [(observe(run.seen(1.0), run.schedule), run.schedule, run.total_steps) for run in runs]
        for name, runs in families.items()
    }
    prior = Prior()
    for _ in range(ROUNDS):
        moments = {
            name: [infer(observed, schedule, total, prior).moments(schedule) for observed, schedule, total in runs]
            for name, runs in seen.items()
        }
        prior = population_prior(prior, moments)
    return Population(prior, within_families(prior, moments))


def check(made: Mapping[str, Any], kept: Mapping[str, Any], where: Path) -> None:
    """Exits with what differs between the prior that this code makes and the one that is kept."""
    now, then = (dict(_numbers({part: given[part] for part in ("prior", "within")})) for given in (made, kept))
    strays = [
        f"{name}: {then.get(name)} is kept, {now.get(name)} is made"
        for name in sorted({*now, *then})
        if not math.isclose(now.get(name, math.nan), then.get(name, math.nan), rel_tol=SAME)
    ]
    if made["sha256_of_names_and_finals"] != kept["sha256_of_names_and_finals"]:
        strays.insert(0, "other runs than the file was made from")
    if strays:
        sys.exit("\n".join([f"{where} (made at {kept.get('commit', 'no commit')}) differs:", *strays]))


def _numbers(part: Any, name: str = "") -> list[tuple[str, float]]:
    """Every number of a nested record, with its place."""
    if isinstance(part, Mapping):
        return [found for key, each in part.items() for found in _numbers(each, f"{name}.{key}" if name else key)]
    if isinstance(part, (list, tuple)):
        return [found for index, each in enumerate(part) for found in _numbers(each, f"{name}[{index}]")]
    return [(name, float(part))]


def _hash(families: Mapping[str, Sequence[RecordedRun]]) -> str:
    digest = hashlib.sha256()
    for name, runs in families.items():
        for run in runs:
            digest.update(f"{name}/{run.name} {len(run.steps)} {run.final_loss():.9g}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
