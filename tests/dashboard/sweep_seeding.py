"""A real sweep of the learning rate, stored and fitted by the real code."""

from __future__ import annotations

import json
from pathlib import Path

from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from app.runs import RunStatus
from app.storage import runs
from tests.dashboard.seeding import Seeder

SMALL_RUNS = Path(__file__).parents[1] / "data" / "small_runs"


def real_sweep(seed: Seeder, project: str) -> None:
    """Eight small language models at eight rates, four of them with QK normalisation, with the settings they had."""
    for file in sorted(SMALL_RUNS.glob("lrsens_*.jsonl")):
        recipe = json.loads(file.read_text().splitlines()[0])["meta"]
        logged = points_by_metric(list(read_file(file).batches))
        seed.open(file.stem, project=project, config=recipe)
        values = {name: points.values for name, points in logged.items()}
        seed.log(file.stem, logged["train_loss"].steps, values, refit=False)
        with seed.database.write() as connection:
            runs.finish_run(connection, file.stem, RunStatus.FINISHED, None)
        seed.refit(file.stem)
