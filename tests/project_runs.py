"""Real runs of one project, logged as jobs would and refitted as the worker would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Row, text

from app.importers.run_files import read_file
from app.runs import Batch, RunStatus, StoredForecast
from app.storage import forecasts, runs
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.storing import store

DATA = Path(__file__).parent / "data"
FAMILY = ("multipowerlaw_25M_cosine_24000", "multipowerlaw_25M_wsd_20000_24000", "multipowerlaw_25M_wsdcon_9")
LIVE = "multipowerlaw_25M_wsdld"
HALF = 12_000
CONFIG = {"model": "llama", "n_params": 25e6, "lr": 3e-4, "data": "fineweb"}
PLAN = {
    "total_steps": 24_000,
    "schedule": {"family": "wsd_linear", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4000},
}


def real_run(name: str, first: int = 0, last: int = 10**9) -> Batch:
    """A stretch of a real run, in one batch."""
    whole = list(read_file(DATA / f"{name}.csv").batches)
    batch = whole[0]
    assert len(whole) == 1
    here = (batch.steps > first) & (batch.steps <= last)
    return Batch(batch.steps[here], batch.times[here], batch.metrics, batch.values[:, here], batch.present[:, here])


def changed(batch: Batch, change: Callable[[np.ndarray], np.ndarray]) -> Batch:
    """The same run with other losses."""
    values = batch.values.copy()
    row = batch.metrics.index("val_loss")
    values[row] = change(values[row])
    return Batch(batch.steps, batch.times, batch.metrics, values, batch.present)


def log(
    database: Database,
    run_id: str,
    batch: Batch,
    *,
    config: Mapping[str, Any] = CONFIG,
    plan: Mapping[str, Any] | None = None,
    project: str = "llama",
    end: RunStatus | None = None,
    seq: int = 0,
) -> None:
    """Log a batch as a job would, end the run if asked to, and refit it."""
    with database.write() as connection:
        runs.open_run(
            connection,
            runs.RunRequest(run_id, project=project, name=f"the {run_id}", config=config, plan=plan, session="first"),
        )
    store(database, batch, run_id=run_id, seq=seq)
    if end is not None:
        with database.write() as connection:
            runs.finish_run(connection, run_id, end, None)
    refit_run(database, run_id, [])


def finish_family(database: Database, names: tuple[str, ...] = FAMILY, **options: Any) -> None:
    for name in names:
        log(database, name, real_run(name), end=RunStatus.FINISHED, **options)


def go_live(database: Database, run_id: str = "live", last: int = HALF, **options: Any) -> StoredForecast:
    log(database, run_id, real_run(LIVE, last=last), plan=PLAN, **options)
    return forecast_of(database, run_id)


def forecast_of(database: Database, run_id: str = "live") -> StoredForecast:
    with database.read() as connection:
        found = forecasts.latest_forecast(connection, run_id, "val_loss")
    assert found is not None
    return found


def heard(database: Database, run_id: str = "live") -> set[str]:
    return {each.run_id for each in forecast_of(database, run_id).siblings}


def stored_prior(database: Database, run_id: str = "live") -> Row[Any]:
    with database.read() as connection:
        return connection.execute(
            text(
                "SELECT p.* FROM run_prior p JOIN run ON run.key = p.run_key WHERE run.id = :id AND metric = 'val_loss'"
            ),
            {"id": run_id},
        ).one()


def band(forecast: StoredForecast) -> float:
    return forecast.final_quantiles[0.95] - forecast.final_quantiles[0.05]


def delete(database: Database, run_id: str) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM run WHERE id = :id"), {"id": run_id})
