"""Published runs, sent through HTTP as a job would have sent them, and refitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from app.importers.run_files import read_file
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.service import Web

DATA = Path(__file__).parents[1] / "data"
WARMUP = np.arange(0, 2161, 120)


def send(web: Web, database_url: str, name: str, *, status: str | None = "finished", **changes: Any) -> str:
    """One of the multi-power law's runs, as a job would have sent it; `changes` replace columns or leave them out."""
    run_id = web.new_run(name=name)
    if "lr" not in changes:  # the warm-up, which the published files leave out
        web.append(run_id, WARMUP.tolist(), lr=(3e-4 * WARMUP / WARMUP[-1]).tolist())
    for batch in read_file(DATA / f"multipowerlaw_25M_{name}.csv").batches:
        columns = {metric: batch.values[row].tolist() for row, metric in enumerate(batch.metrics)}
        for metric, change in changes.items():
            columns[metric] = list(change(np.array(columns[metric]))) if change else []
        web.append(run_id, batch.steps.tolist(), **{metric: values for metric, values in columns.items() if values})
    if status is not None:
        web.post(f"/runs/{run_id}/finish", {"status": status})
    database = Database(database_url)
    refit_run(database, run_id, [])
    database.close()
    return run_id
