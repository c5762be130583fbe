"""Take the published AlgoPerf scores that forecasts of accuracies are reported on out of the report's own table.

    python -m benchmarks.algoperf_scores CURVE_DATA OUTPUT

CURVE_DATA is artifacts/tech_report_v1/appendix_training_curves/curve_plotting/curve_data.csv of
github.com/mlcommons/submissions_algorithms (Apache-2.0), as of commit 665ed12. Ten curves of validation scores of
PyTorch submissions that rise: accuracy, BLEU, SSIM and mean average precision; no learning rate is published. Written
to six decimals, BLEU to five.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.usage import tell_if_asked

CURVES = (
    ("fastmri", "ademamix", 0),
    ("fastmri", "ademamix", 1),
    ("imagenet_resnet", "ademamix", 0),
    ("imagenet_resnet", "ademamix", 1),
    ("imagenet_vit", "ademamix", 1),
    ("ogbg", "ademamix", 0),
    ("ogbg", "ademamix", 1),
    ("wmt", "ademamix", 0),
    ("wmt", "ademamix", 1),
    ("wmt", "muon_torch", 1),
)
"""Workload, submission and study; the first trial."""

DECIMALS = {"bleu": 5}
OTHER_DECIMALS = 6


def main() -> None:
    tell_if_asked(__doc__)
    if len(sys.argv) != 3:
        sys.exit("Name the report's curve_data.csv and a folder to write to.")
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    output.mkdir(parents=True, exist_ok=True)
    for workload, submission, study in CURVES:
        found = scores(rows, workload, submission, study)
        if not found:
            sys.exit(f"{source} holds no {workload} of {submission}, study {study}.")
        with (output / f"{workload}_{submission}_s{study}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(found)


def scores(rows: Iterable[Mapping[str, str]], workload: str, submission: str, study: int) -> list[tuple[str, str]]:
    """A header, then step and score of each evaluation; empty where there is none."""
    curve = [
        row
        for row in rows
        if (row["workload"], row["submission"], row["study"], row["trial"]) == (workload, submission, str(study), "1")
    ]
    if not curve:
        return []
    metric = curve[0]["metric_name"]
    decimals = DECIMALS.get(metric, OTHER_DECIMALS)
    points = sorted((int(row["global_step"]), float(row["metric_value"])) for row in curve)
    return [("step", f"val_{metric}"), *((str(step), f"{value:.{decimals}f}") for step, value in points)]


if __name__ == "__main__":
    main()
