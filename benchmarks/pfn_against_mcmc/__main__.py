"""The command: which networks, how many runs, and the tables of what came."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from app.pfn.runtime import Predictor, shipped_predictor
from app.pfn.weights import read_network
from benchmarks.pfn_against_mcmc.comparing import compared
from benchmarks.pfn_against_mcmc.tables import parts, shapes, table

CUTOFFS = (10, 20, 40, 80)

TRACTABLE = Path(__file__).parents[1] / "tractable_network"
"""Trained on the tractable part of the prior by the same code; its card says how."""


def main() -> None:
    arguments = _arguments()
    predictors = dict(_predictors(arguments.weights))
    for name, predictor in predictors.items():
        print(f"{name}: network {predictor.card['sha256'][:16]}, trained on the {_prior_of(predictor)} prior")
    print(f"{arguments.curves} curves a cutoff, seed {arguments.seed}")
    found = compared(arguments, predictors)
    if not any(one.sampled.converged for each in found.values() for one in each):
        sys.exit("Nothing to tell: no chain was long enough. Ask for more --curves, or more --minutes.")
    for name in predictors:
        print(f"\n{name} network\n\n{table(name, found)}")
    if len(predictors) > 1:
        for by, title in (("expected", "in expectation under MCMC"), ("log_score", "by the answers that came")):
            print(f"\nwhere the differences come from, {title}\n\n{parts(list(predictors), found, by=by)}")
    print(f"\nwhat the networks answer\n\n{shapes(list(predictors), found)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pfn_against_mcmc", description="Network against MCMC.")
    parser.add_argument("--weights", type=Path, action="append", help="folder of a network; once for each")
    parser.add_argument("--curves", type=int, default=25, help="for each cutoff")
    parser.add_argument("--cutoffs", type=int, nargs="+", default=CUTOFFS, help="per cent of the horizon")
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no curve after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="file of what the sampler said, and is not asked again")
    parser.add_argument("--each", action="store_true", help="a line for each curve")
    return parser.parse_args()


def _predictors(folders: Sequence[Path] | None) -> Iterator[tuple[str, Predictor]]:
    if folders:
        yield from ((folder.name, Predictor(*read_network(folder))) for folder in folders)
    else:
        yield "shipped", shipped_predictor()
        yield "tractable", Predictor(*read_network(TRACTABLE))


def _prior_of(predictor: Predictor) -> str:
    return str(predictor.card["trained"].get("prior", "whole"))


if __name__ == "__main__":
    main()
