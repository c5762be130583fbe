"""What the sampler said before, so that it need not be asked again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.pfn.prior.tractable.problems import Problem
from benchmarks.pfn_against_mcmc.sides import Sampled, Side

KEPT_FORMAT = 2
"""Of a line of `--kept`. The first had no likely answers."""


class Kept:
    """What the sampler said of runs, by seed, cutoff and number: in a file of JSON lines, or in none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        records = [json.loads(line) for line in lines]
        if any(record.pop("format", 1) != KEPT_FORMAT for record in records):
            raise SystemExit(f"{path} holds other things than are compared by now. Name another file.")
        self._known = {tuple(record.pop("key")): record for record in records}

    def get(self, key: tuple[int, int, int], problem: Problem) -> Sampled | None:
        record = self._known.get(key)
        if record is None:
            return None
        known = Sampled(**{**record, "side": Side(**record["side"]), "likely": np.array(record["likely"])})
        if not np.isclose(known.answers, problem.answers.sum(), rtol=1e-9):
            raise SystemExit(f"{self._path} is about other runs: the prior has changed since. Name another file.")
        return known

    def add(self, key: tuple[int, int, int], sampled: Sampled) -> None:
        if self._path is not None:
            record = {"format": KEPT_FORMAT, "key": key, **asdict(sampled), "likely": sampled.likely.tolist()}
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(record) + "\n")
